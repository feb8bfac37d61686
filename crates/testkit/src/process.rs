//! A child process that writes to files, and that cannot outlive the test.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait::eventually_within;

/// How long a process may take to stop when it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How much of an output is worth reading in a failed test.
const SHOWN: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    watchdog: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command`; its output is appended to `<dir>/<name>.{out,err}`.
    pub(crate) fn start(name: &str, mut command: Command, dir: &Path) -> Self {
        let (stdout, stderr) = (
            dir.join(format!("{name}.out")),
            dir.join(format!("{name}.err")),
        );
        let append = |path: &Path| OpenOptions::new().create(true).append(true).open(path);
        let child = command
            .stdin(Stdio::null())
            .stdout(append(&stdout).unwrap())
            .stderr(append(&stderr).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("start {name}: {error}"));
        Self {
            name: name.to_owned(),
            watchdog: watch(child.id()),
            child,
            stdout,
            stderr,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdout(&self) -> String {
        read(&self.stdout)
    }

    pub(crate) fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// # Panics
    /// When the process has ended already.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(pid(self.id()), signal)
            .unwrap_or_else(|error| panic!("send {signal} to {}: {error}", self.name));
    }

    /// SIGKILL, and wait until it is gone.
    pub(crate) fn kill(&mut self) {
        // Both fail only when it has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and wait until it has ended.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        if self.ended().is_none() {
            self.signal(Signal::SIGTERM);
        }
        self.wait(STOP_LIMIT).await
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) async fn wait(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        let what = format!("{} ends", self.name);
        eventually_within(limit, &what, async || {
            status = self.ended();
            status.is_some()
        })
        .await;
        status.expect("it has ended")
    }

    /// # Panics
    /// When the process has ended: what it was started for will never come.
    pub(crate) fn must_live(&mut self) {
        if let Some(status) = self.ended() {
            panic!("{} ended at once: {status}", self.name);
        }
    }

    #[expect(
        clippy::print_stderr,
        reason = "the test harness shows it with the failed test"
    )]
    fn show(&self) {
        for (stream, text) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
            let shown = text.ceil_char_boundary(text.len().saturating_sub(SHOWN));
            eprintln!("--- {stream} of {}\n{}", self.name, &text[shown..]);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        if std::thread::panicking() {
            self.show();
        }
    }
}

/// A shell that kills `child` when this process ends, however it ends: the kernel then closes the
/// pipe that the shell reads. In a group of its own, so that Ctrl-C does not take it away first.
fn watch(child: u32) -> Child {
    Command::new("sh")
        .args(["-c", r#"read -r _; kill -KILL "$1""#, "watchdog"])
        .arg(child.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("start sh: {error}"))
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).expect("a process id fits"))
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Writes a server's configuration.
pub(crate) fn write(path: &Path, text: &str) {
    let mut file = fs::File::create(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::wait::eventually;

    #[tokio::test]
    async fn a_process_dies_when_its_test_does() {
        let dir = TempDir::new().unwrap();
        let mut command = Command::new("sleep");
        command.arg("1000");
        let mut process = Process::start("sleep", command, dir.path());
        assert!(process.ended().is_none());

        // What the kernel does at our end.
        drop(process.watchdog.stdin.take());

        eventually("the process is killed", async || process.ended().is_some()).await;
    }

    #[tokio::test]
    async fn a_dropped_process_is_gone() {
        let dir = TempDir::new().unwrap();
        let mut command = Command::new("sleep");
        command.arg("1000");
        let process = Process::start("sleep", command, dir.path());
        let id = pid(process.id());
        assert!(kill(id, None).is_ok());

        drop(process);

        assert!(kill(id, None).is_err());
    }
}
