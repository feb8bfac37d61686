//! A SeaweedFS server with its S3 gateway.

use std::{path::Path, process::Command, time::Duration};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{
    port::free_port,
    process::{Process, write_config},
    program::tool,
    wait::eventually_within,
    wire,
};

const ACCESS_KEY: &str = "testkit";
const SECRET_KEY: &str = "testkit-secret";
const BUCKET: &str = "isotherm";

/// Limit on the start. The master elects a leader first, which takes long after a kill.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// The identities of the S3 gateway. Signed requests are checked against the key; anonymous
/// requests may do everything as well, so that the bucket can be created without a signature.
const IDENTITIES: &str = r#"{"identities": [
  {"name": "testkit", "credentials": [{"accessKey": "testkit", "secretKey": "testkit-secret"}],
   "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
  {"name": "anonymous", "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
]}"#;

/// A running SeaweedFS server with S3 and one empty bucket.
#[derive(Debug)]
pub struct SeaweedFs {
    /// The URL of the S3 gateway.
    pub endpoint: String,
    /// The name of the bucket.
    pub bucket: String,
    /// The region that clients sign for.
    pub region: String,
    /// The access key of the only named identity.
    pub access_key: String,
    /// Its secret key.
    pub secret_key: String,
    ports: Ports,
    // Before the directory: the process must have ended when its files are deleted.
    process: Option<Process>,
    dir: TempDir,
}

/// The HTTP and gRPC ports of each component.
#[derive(Debug)]
struct Ports {
    master: [u16; 2],
    volume: [u16; 2],
    filer: [u16; 2],
    s3: [u16; 2],
}

impl SeaweedFs {
    /// Starts a server without data and waits until its bucket exists.
    pub async fn start() -> Self {
        let pair = || [free_port(), free_port()];
        let ports = Ports {
            master: pair(),
            volume: pair(),
            filer: pair(),
            s3: pair(),
        };
        let dir = TempDir::new().unwrap();
        write_config(&dir.path().join("s3.json"), IDENTITIES);
        std::fs::create_dir(dir.path().join("data")).unwrap();
        let mut server = Self {
            endpoint: format!("http://127.0.0.1:{}", ports.s3[0]),
            bucket: BUCKET.into(),
            region: "us-east-1".into(),
            access_key: ACCESS_KEY.into(),
            secret_key: SECRET_KEY.into(),
            ports,
            process: None,
            dir,
        };
        server.restart().await;
        server
    }

    /// Kills the server with SIGKILL, as a crash would.
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

    /// Starts the server on the same ports and files; kills it first when it is running.
    pub async fn restart(&mut self) {
        self.kill().await;
        let mut process = Process::start("weed", self.command(), self.dir.path());
        let bucket = format!("/{BUCKET}");
        eventually_within(START_TIMEOUT, "SeaweedFS has its bucket", async || {
            process.assert_running();
            let port = self.ports.s3[0];
            wire::http_ok(port, "HEAD", &bucket).await || wire::http_ok(port, "PUT", &bucket).await
        })
        .await;
        self.process = Some(process);
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
        self.process.as_ref().expect("SeaweedFS is running")
    }

    fn command(&self) -> Command {
        let dir = self.dir.path();
        let path = |name: &str| Path::display(&dir.join(name)).to_string();
        let mut command = Command::new(tool("weed"));
        command
            .env("TMPDIR", dir)
            .arg("-logtostderr=true")
            .args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"])
            .args(["-master.telemetry=false", "-master.electionTimeout=1s"])
            .args(["-master.volumeSizeLimitMB=64", "-volume.max=50"])
            .args(["-filer", "-s3", "-s3.port.iceberg=0", "-s3.port.lance=0"])
            .arg(format!("-dir={}", path("data")))
            .arg(format!("-filer.localSocket={}", path("filer.sock")))
            .arg(format!("-s3.localSocket={}", path("s3.sock")))
            .arg(format!("-s3.config={}", path("s3.json")));
        for (part, [http, grpc]) in [
            ("master", self.ports.master),
            ("volume", self.ports.volume),
            ("filer", self.ports.filer),
            ("s3", self.ports.s3),
        ] {
            command.arg(format!("-{part}.port={http}"));
            command.arg(format!("-{part}.port.grpc={grpc}"));
        }
        command
    }
}
