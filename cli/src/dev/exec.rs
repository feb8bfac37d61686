//! `isotherm __exec`: sets the priority and the parent-death signal, then executes another program.

use std::{ffi::OsString, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, anyhow};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The pid of the parent; the program is killed when it ends.
    #[arg(long)]
    parent: i32,
    /// The nice value of the program.
    #[arg(long, default_value_t = 0)]
    nice: i32,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Replaces this process by the program; returns only on failure.
pub(crate) fn run(args: &Args) -> anyhow::Error {
    if let Err(error) = kill_on_parent_death(args.parent) {
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

/// Asks the kernel to kill this process when the thread that started it ends. The setting survives
/// exec.
#[cfg(target_os = "linux")]
fn kill_on_parent_death(parent: i32) -> anyhow::Result<()> {
    use nix::{
        sys::{prctl::set_pdeathsig, signal::Signal},
        unistd::getppid,
    };

    set_pdeathsig(Signal::SIGKILL).context("tie this process to its parent")?;
    // The parent may have ended before the signal was set.
    anyhow::ensure!(getppid().as_raw() == parent, "the parent process is gone");
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn kill_on_parent_death(_parent: i32) -> anyhow::Result<()> {
    Ok(())
}
