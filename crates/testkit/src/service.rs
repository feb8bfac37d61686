//! Our own programs, run as processes so that they can be killed.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, ExitStatus},
    time::Duration,
};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::process::Process;

/// A running program of ours. What it wrote is printed when the test fails.
#[derive(Debug)]
pub struct Service {
    // Before the directory: it must be dead when its files go.
    process: Process,
    _dir: TempDir,
}

impl Service {
    /// Starts `program`, usually `env!("CARGO_BIN_EXE_...")` or [`crate::program::program`]. It inherits
    /// the environment, less a request for backtraces.
    #[must_use]
    pub fn start(
        program: impl AsRef<Path>,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Self {
        Self::start_with(program, args, [("", ""); 0])
    }

    /// [`Service::start`] with additional environment variables.
    #[must_use]
    pub fn start_with(
        program: impl AsRef<Path>,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        envs: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> Self {
        let program = program.as_ref();
        let name = program
            .file_name()
            .expect("a program has a name")
            .to_string_lossy();
        let dir = TempDir::new().unwrap();
        let mut command = Command::new(program);
        command.args(args).env("RUST_BACKTRACE", "0").envs(envs);
        Self {
            process: Process::start(&name, command, dir.path()),
            _dir: dir,
        }
    }

    /// SIGKILL: the crash.
    pub async fn kill(mut self) {
        self.process.kill();
    }

    /// SIGTERM: the polite stop of Kubernetes.
    pub async fn stop(mut self) -> ExitStatus {
        self.process.stop().await
    }

    /// Waits until it ends by itself.
    pub async fn wait(&mut self, limit: Duration) -> ExitStatus {
        self.process.wait(limit).await
    }

    /// Its status if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// SIGSTOP: a process that hangs.
    pub fn pause(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    /// SIGTERM without waiting.
    pub fn terminate(&self) {
        self.process.signal(Signal::SIGTERM);
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has written to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.process.stdout()
    }

    /// What it has written to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }
}
