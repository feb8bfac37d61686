//! One child process of `dev`: its end, and what its log says about it.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{self, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::anyhow;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::restarts::Restarts;

/// Lines shown of the log of a program that failed.
const SHOWN_LINES: usize = 12;

/// The group in which a program is stopped: services first, then the servers that they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    Server,
    Service,
}

impl Layer {
    /// Time between SIGTERM and SIGKILL.
    pub(super) fn stop_timeout(self) -> Duration {
        match self {
            Self::Service => Duration::from_secs(5),
            Self::Server => Duration::from_secs(3),
        }
    }
}

/// CPU priority and threads of a program, on a machine that all of them share.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuSettings {
    /// Nice value: higher is a lower priority.
    pub(crate) nice: i32,
    /// Limits our own programs to half as many worker threads as there are cores, since several of them
    /// work at the same time.
    pub(crate) half_of_the_cores: bool,
}

/// A program with what it is started with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) name: &'static str,
    pub(crate) layer: Layer,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) cpu: CpuSettings,
}

#[derive(Debug)]
pub(super) struct Child {
    pub(super) start: Start,
    pub(super) process: process::Child,
    pub(super) log: PathBuf,
    pub(super) restarts: Restarts,
    /// Set from its death to its next start.
    pub(super) restart_at: Option<Instant>,
}

impl Child {
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        if self.is_alive() {
            // It may have ended since the check, but it is not reaped yet, so its pid cannot belong
            // to another process.
            let _ = kill(Pid::from_raw(self.process.id().cast_signed()), signal);
        }
    }

    /// Says that it ended, and why, on one line.
    pub(super) fn end(&self, status: ExitStatus) -> String {
        let name = self.start.name;
        match (status.signal(), status.code()) {
            (Some(signal), _) => format!("{name} ended (signal {signal})"),
            (None, code) => {
                let code = code.unwrap_or_default();
                let why = self.last_error().map(|error| format!(": {error}"));
                format!(
                    "{name} ended (exit status {code}{})",
                    why.unwrap_or_default()
                )
            }
        }
    }

    /// The error of a start that failed.
    pub(super) fn failed(&self, status: ExitStatus) -> anyhow::Error {
        match self.last_error() {
            Some(message) => anyhow!(
                "{} ended, so everything is stopped: {message} (its log is {})",
                self.start.name,
                self.log.display()
            ),
            None => anyhow!(
                "{}, so everything is stopped; the end of {}:\n{}",
                self.end(status),
                self.log.display(),
                last_lines(&self.log)
            ),
        }
    }

    /// The error of a program that is not started again.
    pub(super) fn gives_up(&self, status: ExitStatus) -> anyhow::Error {
        anyhow!(
            "{}, for the fifth time within a minute, so everything is stopped; the end of {}:\n{}",
            self.end(status),
            self.log.display(),
            last_lines(&self.log)
        )
    }

    /// The line `error: …` with which our programs end; without its beginning.
    fn last_error(&self) -> Option<String> {
        let log = String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned();
        let last = log.lines().last()?;
        last.strip_prefix("error: ").map(str::to_owned)
    }
}

/// Creates the log file; keeps the log of the previous run as `.log.1`.
pub(super) fn new_log(path: &Path) -> io::Result<File> {
    if path.exists() {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    append_log(path)
}

/// Opens the log file behind what it has.
pub(super) fn append_log(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// The end of a log.
pub(super) fn last_lines(path: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(SHOWN_LINES);
    lines[from..].join("\n")
}
