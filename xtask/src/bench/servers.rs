//! The processes that are measured, started on free ports and stopped before they are forgotten.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::run;

const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// `isotherm dev` counts its ports from a base up to this distance.
const SPAN: u16 = 32;

/// A child that does not outlive us.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
}

impl Process {
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop, and makes it when it does not listen.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        let id = self.id().to_string();
        let mut ask = Command::new("sh");
        ask.args(["-c", "kill -TERM \"$1\"", "sh", &id]);
        run::check(ask)?;
        let deadline = Instant::now() + STOP_LIMIT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                bail!("process {id} did not stop within {STOP_LIMIT:?}");
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It may have ended this moment.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// All of Isotherm, with the data in `dir`.
pub(super) fn isotherm(program: &Path, dir: &Path, base: u16) -> anyhow::Result<Process> {
    let log = dir.join("dev.log");
    let mut command = Command::new(program);
    command.arg("dev").arg("--data").arg(dir.join("data"));
    command.args(["--port-base", &base.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(File::create(&log)?).current_dir(run::root());
    run::find_libraries(&mut command);
    let child = command.spawn().context("start isotherm dev")?;
    let mut process = Process { child };
    let stdout = process.child.stdout.take().expect("stdout is piped");
    for line in BufReader::new(stdout).lines() {
        if line
            .context("read what isotherm dev says")?
            .starts_with("ready")
        {
            return Ok(process);
        }
    }
    let said = fs::read_to_string(&log).unwrap_or_default();
    bail!("isotherm dev did not start:\n{}", said.trim())
}

/// A server as `isotherm dev` starts it, alone.
pub(super) fn valkey(dir: &Path, port: u16) -> anyhow::Result<Process> {
    let program = run::root().join(".tools/bin/valkey-server");
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--appendonly", "yes", "--appendfsync", "everysec"]);
    command.args(["--maxmemory-policy", "noeviction", "--save", ""]);
    command.args(["--daemonize", "no", "--dir"]).arg(dir);
    command.stdin(Stdio::null());
    command.stdout(File::create(dir.join("valkey.log"))?);
    let child = command.spawn().context("start valkey-server")?;
    let process = Process { child };
    let deadline = Instant::now() + START_LIMIT;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() >= deadline {
            bail!("valkey-server does not answer on port {port}");
        }
        std::thread::sleep(POLL);
    }
    Ok(process)
}

/// A base with all ports above it free, below those that the system hands out.
pub(super) fn free_base() -> anyhow::Result<u16> {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let start = u16::try_from(std::process::id() % 400).expect("less than a u16") * 40;
    let bases = (0..400).map(|n| 10_000 + (start + n * 40) % 16_000);
    for base in bases {
        if (base..=base + SPAN).all(is_free) {
            return Ok(base);
        }
    }
    bail!("there are no {SPAN} free ports in a row")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_above_a_base_are_free_and_a_process_does_not_outlive_us() {
        let base = free_base().unwrap();
        assert!(TcpListener::bind(("127.0.0.1", base + SPAN)).is_ok());

        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = child.id();
        drop(Process { child });
        assert!(!Path::new(&format!("/proc/{id}")).exists());
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        Process { child }.stop().unwrap();
    }
}
