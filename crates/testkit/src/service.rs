//! Our own programs as processes, so that tests can kill them.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, ExitStatus},
    time::Duration,
};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::process::Process;

/// A running program of ours, killed on drop. Its output is printed when the test fails.
#[derive(Debug)]
pub struct Service {
    // Before the directory: the process must have ended when its files are deleted.
    process: Process,
    _dir: TempDir,
}

impl Service {
    /// Starts `program`, usually `env!("CARGO_BIN_EXE_...")` or [`crate::program::program`]. It
    /// inherits the environment, except that backtraces are off.
    #[must_use]
    pub fn start(
        program: impl AsRef<Path>,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Self {
        Self::start_with(program, args, [("", ""); 0])
    }

    /// Starts `program` like [`Service::start`], with additional environment variables.
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

    /// Kills the program with SIGKILL, as a crash would.
    pub async fn kill(mut self) {
        self.process.kill();
    }

    /// Stops the program with SIGTERM, as Kubernetes does, and waits for its end.
    pub async fn stop(mut self) -> ExitStatus {
        self.process.stop().await
    }

    /// Waits at most `limit` until the program ends by itself.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn wait(&mut self, limit: Duration) -> ExitStatus {
        self.process.wait(limit).await
    }

    /// Returns the exit status; `None` while the program is running.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.exit_status()
    }

    /// Pauses the program with SIGSTOP, so that it seems to hang.
    pub fn pause(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// Resumes the program with SIGCONT.
    pub fn resume(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    /// Sends SIGTERM without waiting for the end.
    pub fn terminate(&self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// Returns the process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Returns what the program has written to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.process.stdout()
    }

    /// Returns what the program has written to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }
}

/// The value of the first series of a metrics page whose line begins with `name`; 0 while there is none.
///
/// # Panics
/// The value is no number.
#[must_use]
pub fn metric(page: &str, name: &str) -> f64 {
    let line = page.lines().find(|line| line.starts_with(name));
    line.map_or(0.0, |line| {
        line.rsplit(' ').next().unwrap().parse().unwrap()
    })
}
