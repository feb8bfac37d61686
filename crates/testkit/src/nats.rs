//! A nats-server with JetStream.

use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{
    port::free_port,
    process::{Process, write},
    program::tool,
    wait::eventually,
    wire,
};

/// A nats-server with JetStream that syncs every write, as in production.
#[derive(Debug)]
pub struct Nats {
    pub url: String,
    /// Where `/varz`, `/jsz` and `/connz` answer.
    pub monitor_url: String,
    monitor_port: u16,
    // Before the directory: it must be dead when its files go.
    process: Option<Process>,
    dir: TempDir,
}

impl Nats {
    pub async fn start() -> Self {
        let (port, monitor_port) = (free_port(), free_port());
        let dir = TempDir::new().unwrap();
        let store = dir.path().join("store");
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitor_port}\"\n\
             jetstream {{\n  store_dir: \"{}\"\n  sync_interval: always\n}}\n",
            store.display()
        );
        write(&dir.path().join("nats.conf"), &config);
        let mut nats = Self {
            url: format!("nats://127.0.0.1:{port}"),
            monitor_url: format!("http://127.0.0.1:{monitor_port}"),
            monitor_port,
            process: None,
            dir,
        };
        nats.restart().await;
        nats
    }

    /// SIGKILL: the crash. Everything acknowledged is still in the store.
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

    /// Starts it again on the same ports and store, after a kill if it still runs.
    pub async fn restart(&mut self) {
        self.kill().await;
        let mut command = Command::new(tool("nats-server"));
        command.arg("-c").arg(self.dir.path().join("nats.conf"));
        let mut process = Process::start("nats-server", command, self.dir.path());
        eventually("nats-server is healthy", async || {
            process.must_live();
            wire::http_ok(self.monitor_port, "GET", "/healthz").await
        })
        .await;
        self.process = Some(process);
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
        self.process.as_ref().expect("nats-server runs")
    }
}
