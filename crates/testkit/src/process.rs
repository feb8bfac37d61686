//! A child process whose output goes to files and that cannot outlive the test.

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

/// Limit on the end of a process after SIGTERM. Generous: many tests share few cores.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// The last bytes of each output that a failed test prints.
const MAX_PRINTED_BYTES: usize = 16 * 1024;

/// A child process, killed on drop; its output is printed when the test fails.
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
            watchdog: start_watchdog(child.id()),
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

    /// Sends SIGKILL and waits for the end.
    pub(crate) fn kill(&mut self) {
        // Both fail only when it has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        if self.exit_status().is_none() {
            self.signal(Signal::SIGTERM);
        }
        self.wait(STOP_TIMEOUT).await
    }

    /// The exit status; `None` while the process is running.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) async fn wait(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        let what = format!("{} ends", self.name);
        eventually_within(limit, &what, async || {
            status = self.exit_status();
            status.is_some()
        })
        .await;
        status.expect("it has ended")
    }

    /// # Panics
    /// When the process has ended: it will never get ready.
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.exit_status() {
            panic!("{} ended at once: {status}", self.name);
        }
    }

    #[expect(
        clippy::print_stderr,
        reason = "the test harness prints it with the failed test"
    )]
    fn print_output(&self) {
        for (stream, text) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
            let start = text.ceil_char_boundary(text.len().saturating_sub(MAX_PRINTED_BYTES));
            eprintln!("--- {stream} of {}\n{}", self.name, &text[start..]);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        if std::thread::panicking() {
            self.print_output();
        }
    }
}

/// Starts a shell that kills `child` when this process ends, even by SIGKILL: the kernel then
/// closes the pipe that the shell reads. It has its own process group, so that Ctrl-C does not kill
/// it first.
fn start_watchdog(child: u32) -> Child {
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

/// Writes a server's configuration file.
pub(crate) fn write_config(path: &Path, text: &str) {
    let mut file = fs::File::create(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::wait::eventually;

    #[tokio::test]
    async fn a_process_is_killed_when_its_test_ends() {
        let dir = TempDir::new().unwrap();
        let mut command = Command::new("sleep");
        command.arg("1000");
        let mut process = Process::start("sleep", command, dir.path());
        assert!(process.exit_status().is_none());

        // The kernel does this when this process ends.
        drop(process.watchdog.stdin.take());

        eventually("the process is killed", async || {
            process.exit_status().is_some()
        })
        .await;
    }

    #[tokio::test]
    async fn a_dropped_process_is_killed() {
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
