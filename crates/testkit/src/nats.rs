//! A nats-server with JetStream.

use std::{fs, path::Path, process::Command};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{
    port::free_port,
    process::{Process, write_config},
    program::tool,
    wait::eventually,
    wire,
};

/// A running nats-server with JetStream that syncs every write, as in production.
#[derive(Debug)]
pub struct Nats {
    /// The URL for clients.
    pub url: String,
    /// The base URL of `/varz`, `/jsz` and `/connz`.
    pub monitor_url: String,
    monitor_port: u16,
    // Before the directory: the process must have ended when its files are deleted.
    process: Option<Process>,
    dir: TempDir,
}

impl Nats {
    /// Starts a server with an empty store and waits until it is healthy.
    pub async fn start() -> Self {
        let (port, monitor_port) = (free_port(), free_port());
        let dir = TempDir::new().unwrap();
        let store = dir.path().join("store");
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitor_port}\"\n\
             jetstream {{\n  store_dir: \"{}\"\n  sync_interval: always\n}}\n",
            store.display()
        );
        write_config(&dir.path().join("nats.conf"), &config);
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

    /// Kills the server with SIGKILL, as a crash would. Acknowledged messages stay in the store.
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

    /// Starts the server on the same ports and store; kills it first when it is running.
    pub async fn restart(&mut self) {
        self.kill().await;
        let mut command = Command::new(tool("nats-server"));
        command.arg("-c").arg(self.dir.path().join("nats.conf"));
        let mut process = Process::start("nats-server", command, self.dir.path());
        eventually("nats-server is healthy", async || {
            process.assert_running();
            wire::http_ok(self.monitor_port, "GET", "/healthz").await
        })
        .await;
        self.process = Some(process);
    }

    /// Copies the store to the folder `to`, which must not exist; stops the server for that moment.
    pub async fn copy_store(&mut self, to: &Path) {
        self.stop().await;
        copy_folder(&self.dir.path().join("store"), to);
        self.restart().await;
    }

    /// Kills the server, replaces its store by the folder `by`, keeps the old one as the folder `old`,
    /// and starts the server again.
    pub async fn replace_store(&mut self, by: &Path, old: &Path) {
        self.kill().await;
        let store = self.dir.path().join("store");
        copy_folder(&store, old);
        fs::remove_dir_all(&store).unwrap();
        copy_folder(by, &store);
        self.restart().await;
    }

    /// Replaces an empty stream by one from which messages can be deleted, with the single `subject`.
    pub async fn allow_deletes(&self, stream: &str, subject: &str) {
        self.command(&format!("STREAM.DELETE.{stream}"), "").await;
        let config = format!(
            "{{\"name\":\"{stream}\",\"subjects\":[\"{subject}\"],\"storage\":\"file\",\
             \"retention\":\"limits\",\"num_replicas\":1,\"allow_direct\":true}}"
        );
        self.command(&format!("STREAM.CREATE.{stream}"), &config)
            .await;
    }

    /// Deletes one message of a stream, as a lost block of its store would.
    pub async fn delete_message(&self, stream: &str, seq: u64) {
        let body = format!("{{\"seq\":{seq}}}");
        self.command(&format!("STREAM.MSG.DELETE.{stream}"), &body)
            .await;
    }

    /// Sends one command to JetStream.
    async fn command(&self, command: &str, body: &str) {
        let request = format!(
            "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\n\
             PUB $JS.API.{command} answer {}\r\n{body}\r\n",
            body.len()
        );
        let (_, port) = self.url.rsplit_once(':').expect("it has a port");
        let port = port.parse().expect("a port is a number");
        let answer = wire::request_until(port, &request, "_response\"").await;
        let answer = answer.unwrap_or_else(|| panic!("nats-server does not answer {command}"));
        assert!(!answer.contains("\"error\""), "{command}: {answer}");
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
        self.process.as_ref().expect("nats-server runs")
    }
}

fn copy_folder(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success(), "copy {}", from.display());
}
