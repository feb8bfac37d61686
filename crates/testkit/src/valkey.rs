//! A valkey-server, set up as the hot tier demands it.

use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{port::free_port, process::Process, program::tool, wait::eventually, wire};

/// A valkey-server with an append-only file (synced every second) and without eviction.
#[derive(Debug)]
pub struct Valkey {
    pub url: String,
    program: &'static str,
    port: u16,
    // Before the directory: it must be dead when its files go.
    process: Option<Process>,
    dir: TempDir,
}

impl Valkey {
    pub async fn start() -> Self {
        Self::start_as("valkey-server").await
    }

    /// The same with another program that takes the same flags: `redis-server`.
    pub async fn start_as(program: &'static str) -> Self {
        let port = free_port();
        let mut valkey = Self {
            url: format!("redis://127.0.0.1:{port}"),
            program,
            port,
            process: None,
            dir: TempDir::new().unwrap(),
        };
        valkey.restart().await;
        valkey
    }

    /// SIGKILL: the crash. What the append-only file holds survives it.
    pub async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM: the polite stop.
    pub async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop().await;
        }
    }

    /// Starts it again on the same port and files, after a kill if it still runs.
    pub async fn restart(&mut self) {
        self.kill().await;
        let mut command = Command::new(tool(self.program));
        command
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--appendonly", "yes", "--appendfsync", "everysec"])
            .args(["--maxmemory-policy", "noeviction", "--save", ""])
            .arg("--dir")
            .arg(self.dir.path());
        let mut process = Process::start(self.program, command, self.dir.path());
        eventually("the server answers", async || {
            process.must_live();
            wire::ask(self.port, "PING\r\n")
                .await
                .is_some_and(|answer| answer.starts_with("+PONG"))
        })
        .await;
        self.process = Some(process);
    }

    /// Everything gone, the server still there.
    pub async fn flush(&self) {
        assert_eq!(self.command("FLUSHALL SYNC").await, "+OK\r\n");
    }

    /// Sends one command, words apart by spaces, and returns the raw reply.
    pub async fn command(&self, command: &str) -> String {
        wire::ask(self.port, &format!("{command}\r\n"))
            .await
            .unwrap_or_else(|| panic!("valkey-server does not answer {command}"))
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    pub fn pause(&self) {
        self.running().signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.running().signal(Signal::SIGCONT);
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("valkey-server runs")
    }
}
