//! A valkey-server with the configuration that the hot tier needs.

use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{port::free_port, process::Process, program::tool, wait::eventually, wire};

/// A running valkey-server with an append-only file (synced every second) and without eviction.
#[derive(Debug)]
pub struct Valkey {
    /// The URL for clients.
    pub url: String,
    program: &'static str,
    port: u16,
    // Before the directory: the process must have ended when its files are deleted.
    process: Option<Process>,
    dir: TempDir,
}

impl Valkey {
    /// Starts an empty server and waits until it answers.
    pub async fn start() -> Self {
        Self::start_as("valkey-server").await
    }

    /// Starts another program that takes the same flags: `redis-server`.
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

    /// Kills the server with SIGKILL, as a crash would. Data in the append-only file survives.
    pub async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Stops the server with SIGTERM and waits for its end.
    pub async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop().await;
        }
    }

    /// Starts the server on the same port and files; kills it first when it is running.
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
            process.assert_running();
            wire::request(self.port, "PING\r\n")
                .await
                .is_some_and(|answer| answer.starts_with("+PONG"))
        })
        .await;
        self.process = Some(process);
    }

    /// Deletes all data, while the server keeps running.
    pub async fn flush(&self) {
        assert_eq!(self.command("FLUSHALL SYNC").await, "+OK\r\n");
    }

    /// Sends one command, its words separated by spaces, and returns the raw reply.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn command(&self, command: &str) -> String {
        wire::request(self.port, &format!("{command}\r\n"))
            .await
            .unwrap_or_else(|| panic!("valkey-server does not answer {command}"))
    }

    /// Pauses the server with SIGSTOP: it keeps its connections and answers nothing.
    pub fn pause(&self) {
        self.running().signal(Signal::SIGSTOP);
    }

    /// Resumes the server with SIGCONT.
    pub fn resume(&self) {
        self.running().signal(Signal::SIGCONT);
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("valkey-server runs")
    }
}
