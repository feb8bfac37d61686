//! The command line of Isotherm: one program to start it, feed it, read it and set its policies.
//!
//! Answers go to stdout, everything else to stderr. Exit 0 is success, 1 a failure, 2 a call that
//! could not be understood. A closed stdout ends a command quietly.

mod append;
mod archive;
mod args;
mod bench;
mod client;
mod common;
mod dev;
mod dlq;
mod exit;
mod gap;
mod import;
mod new_event;
mod output;
mod policy;
mod read;
mod run;
mod sender;
mod simulate;
mod sse;
mod value;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};

/// Runs the command line of this process and returns its exit status: 0 for success, 1 for a failure,
/// 2 for a usage error, or the status of the program that `isotherm run` ran. An error is printed to
/// stderr as one line.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    if let Command::Exec(exec) = &cli.command {
        return exit::code(Err(dev::exec::run(exec)));
    }
    // It fails only when a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = match runtime {
        // On the main thread: `dev` starts its children on it, and they die with the thread that
        // started them.
        Ok(runtime) => runtime.block_on(Box::pin(run(cli))),
        Err(error) => Err(error.into()),
    };
    exit::code(result)
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let common = &cli.common;
    match cli.command {
        Command::Run(args) => return run::run(args, common).await,
        Command::Archive(args) => return archive::run(&args, common).await,
        Command::Dev(args) => dev::run(args).await?,
        Command::Append(args) => append::run(args, common).await?,
        Command::Tail(args) => read::tail(&args, common).await?,
        Command::Get(args) => read::get(&args, common).await?,
        Command::Query(args) => read::query(&args, common).await?,
        Command::Conversations(args) => read::lists::conversations(&args, common).await?,
        Command::Tiers => read::lists::tiers(common).await?,
        Command::Stats => read::lists::stats(common).await?,
        Command::Import(command) => import::run(command, common).await?,
        Command::Dlq(command) => dlq::run(command, common).await?,
        Command::Gap(command) => gap::run(command, common).await?,
        Command::Policy(command) => policy::run(command, common).await?,
        Command::Completions { shell } => args::completions(shell)?,
        Command::Simulate(args) => simulate::run(&args, common).await?,
        Command::BenchLoad(args) => bench::run(args, common).await?,
        Command::Exec(_) => unreachable!("main() has handled it"),
    }
    Ok(ExitCode::SUCCESS)
}
