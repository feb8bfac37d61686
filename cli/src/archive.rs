//! `isotherm archive --once`: runs the archiver as a child process.

use std::{os::unix::process::ExitStatusExt as _, process::ExitCode};

use anyhow::Context as _;

use crate::{common::Common, dev::programs::SearchPaths, output::Format};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run once and end. Required, since there is no other mode.
    #[arg(long, required = true)]
    once: bool,
    /// The cold tier: a folder or s3://bucket/prefix.
    #[arg(
        long,
        value_name = "URL",
        env = "ISOTHERM_COLD_URL",
        default_value = ".isotherm/cold"
    )]
    cold_url: String,
    /// The compactor, which has the sealed segments.
    #[arg(
        long,
        value_name = "URL",
        env = "ISOTHERM_COMPACTOR_URL",
        default_value = "http://127.0.0.1:7403"
    )]
    compactor_url: String,
    /// More flags for the archiver itself, for example --s3-allow-http.
    #[arg(last = true)]
    more: Vec<String>,
}

/// Runs the archiver and returns its exit status, 128 + n when signal n ended it.
pub(crate) async fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let paths = SearchPaths::new(None)?;
    let mut command = tokio::process::Command::new(paths.service("archiver")?);
    if let Some(path) = paths.library_path() {
        command.env("LD_LIBRARY_PATH", path);
    }
    let (output, logs) = match common.output {
        // For people: the summary, and warnings.
        Format::Table => ("table", "warn"),
        _ => ("json", "error"),
    };
    command.args(["--output", output, "--log", logs]);
    command
        .arg("--once")
        .args(["--nats-url", &common.log.nats_url])
        .args(["--cold-url", &args.cold_url])
        .args(["--compactor-url", &args.compactor_url])
        .args(["--admin-addr", "127.0.0.1:0"])
        .args(&args.more);
    let status = command.status().await.context("run the archiver")?;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(ExitCode::from(
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
    ))
}
