//! `isotherm __exec`: becomes another program, tied to the process that started it.

use std::{ffi::OsString, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, anyhow};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who must be the parent; the program is killed when it ends.
    #[arg(long)]
    parent: i32,
    /// How many steps the program stands back behind others when they want the processor too.
    #[arg(long, default_value_t = 0)]
    nice: i32,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Returns only when it cannot become the program.
pub(crate) fn run(args: &Args) -> anyhow::Error {
    if let Err(error) = die_with(args.parent) {
        return error;
    }
    if let Err(error) = rustix::process::nice(args.nice) {
        return anyhow!(error).context("lower the priority");
    }
    let (program, rest) = args
        .command
        .split_first()
        .expect("the parser asks for a program");
    let error = Command::new(program).args(rest).exec();
    anyhow!(error).context(format!("start {}", program.to_string_lossy()))
}

/// The kernel kills this process when the thread that started it ends. It stays so through exec.
#[cfg(target_os = "linux")]
fn die_with(parent: i32) -> anyhow::Result<()> {
    use nix::{
        sys::{prctl::set_pdeathsig, signal::Signal},
        unistd::getppid,
    };

    set_pdeathsig(Signal::SIGKILL).context("tie this process to its parent")?;
    // The parent may have died before the line above.
    anyhow::ensure!(getppid().as_raw() == parent, "the parent process is gone");
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn die_with(_parent: i32) -> anyhow::Result<()> {
    Ok(())
}
