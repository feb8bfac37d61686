//! Child processes of a task: on free ports, and killed when the task drops them.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::run;

const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// Distance from the port base of `isotherm dev` to the last port that it may use.
const PORTS_PER_BASE: u16 = 32;

/// A child process that is killed on drop.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> anyhow::Result<Self> {
        let child = command.spawn();
        let child = child.with_context(|| format!("start {}", run::shown(&command)))?;
        Ok(Self { child })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends by itself; an error when its exit code is not 0.
    pub(crate) fn wait(mut self) -> anyhow::Result<()> {
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "it ended with {status}");
        Ok(())
    }

    /// Leaves it running: no kill on drop.
    pub(crate) fn detach(self) {
        std::mem::forget(self);
    }

    /// Sends SIGTERM and waits for the end; after the timeout it is killed, which is an error.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let id = self.id().to_string();
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -TERM \"$1\"", "sh", &id]);
        run::check(kill)?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                bail!("process {id} did not stop within {STOP_TIMEOUT:?}");
            }
            std::thread::sleep(STOP_CHECK_INTERVAL);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.has_ended() {
            // It may have ended this moment.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Starts `isotherm dev` with its data in `dir`, and returns when it is ready.
pub(crate) fn isotherm(
    program: &Path,
    dir: &Path,
    base: u16,
    more: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> anyhow::Result<Process> {
    isotherm_with(program, dir, base, more, &[])
}

/// Starts `isotherm dev` like [`isotherm`], with additional environment variables.
pub(crate) fn isotherm_with(
    program: &Path,
    dir: &Path,
    base: u16,
    more: impl IntoIterator<Item = impl AsRef<OsStr>>,
    envs: &[(&str, &str)],
) -> anyhow::Result<Process> {
    let log = dir.join("dev.log");
    let mut command = Command::new(program);
    command.arg("dev").arg("--data").arg(dir.join("data"));
    command.args(["--port-base", &base.to_string()]).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(File::create(&log)?).current_dir(run::root());
    command.envs(envs.iter().copied());
    run::find_libraries(&mut command);
    let mut process = Process::start(command)?;
    let stdout = process.child.stdout.take().expect("stdout is piped");
    for line in BufReader::new(stdout).lines() {
        let line = line.context("read the output of isotherm dev")?;
        if line.starts_with("ready") {
            return Ok(process);
        }
    }
    let output = fs::read_to_string(&log).unwrap_or_default();
    bail!("isotherm dev did not start:\n{}", output.trim())
}

/// A port with the next ports free as well, below the ephemeral ports of Linux.
pub(crate) fn free_base() -> anyhow::Result<u16> {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let start = u16::try_from(std::process::id() % 400).expect("less than a u16") * 40;
    let bases = (0..400).map(|n| 10_000 + (start + n * 40) % 16_000);
    for base in bases {
        if (base..=base + PORTS_PER_BASE).all(is_free) {
            return Ok(base);
        }
    }
    bail!("there are no {PORTS_PER_BASE} free ports in a row")
}

/// The target directory of cargo.
pub(crate) fn target_folder() -> anyhow::Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }

    let metadata = run::cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Metadata = serde_json::from_slice(&run::output(metadata)?)?;
    Ok(metadata.target_directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_above_a_base_are_free_and_a_process_does_not_outlive_us() {
        let base = free_base().unwrap();
        assert!(TcpListener::bind(("127.0.0.1", base + PORTS_PER_BASE)).is_ok());

        let sleep = || {
            let mut command = Command::new("sleep");
            command.arg("60");
            Process::start(command).unwrap()
        };
        let process = sleep();
        let id = process.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
        sleep().stop().unwrap();
    }
}
