//! MinIO for the cold tier's suite: built once from its Go module, then started for one test run.

use std::{
    fs::{self, File},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use crate::{
    process::{self, Process},
    run,
};

const START_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
const BUCKET: &str = "isotherm";
const KEY: &str = "isotherm-test";
const SECRET: &str = "isotherm-secret";

/// A running server. It ends, and its data goes, when this does.
#[derive(Debug)]
pub(crate) struct Minio {
    port: u16,
    dir: PathBuf,
    _process: Process,
}

/// Builds it when the module is not the one that was built last: a few minutes of Go.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let (module, tools) = (
        run::root().join("e2e/minio"),
        run::root().join(".tools/minio"),
    );
    let (program, stamp) = (tools.join("minio"), tools.join("stamp"));
    let lock = fs::read(module.join("go.sum")).context("read e2e/minio/go.sum")?;
    let wanted = format!("{:?}", Sha256::digest(&lock));
    if program.is_file() && fs::read_to_string(&stamp).is_ok_and(|built| built == wanted) {
        return Ok(program);
    }
    let mut go = Command::new("go");
    if go.arg("version").stdout(Stdio::null()).status().is_err() {
        bail!(
            "go is missing, which builds MinIO for the tests: install Go 1.25 or later, or leave \
             --minio out"
        );
    }
    run::say("building MinIO from its module; a few minutes, once");
    fs::create_dir_all(&tools)?;
    let mut go = Command::new("go");
    go.arg("build").arg("-C").arg(module);
    go.args(["-ldflags", "-s -w", "-o"]).arg(&tools).arg("tool");
    run::check(go)?;
    fs::write(stamp, wanted)?;
    Ok(program)
}

impl Minio {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let program = build()?;
        let port = process::free_base()?;
        let dir = process::target_folder()?.join(format!("minio/{}", std::process::id()));
        // A bucket is a folder of the data.
        fs::create_dir_all(dir.join("data").join(BUCKET))?;
        let mut command = Command::new(program);
        command.args(["server", "--quiet", "--address"]);
        command.arg(format!("127.0.0.1:{port}"));
        command.args(["--console-address", &format!("127.0.0.1:{}", port + 1)]);
        command.arg(dir.join("data"));
        command.env("MINIO_ROOT_USER", KEY);
        command.env("MINIO_ROOT_PASSWORD", SECRET);
        command.stdin(Stdio::null());
        command.stdout(File::create(dir.join("minio.log"))?);
        let mut process = Process::start(command)?;
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() >= deadline || process.has_ended() {
                bail!(
                    "minio does not answer on port {port}: see {}",
                    dir.display()
                );
            }
            std::thread::sleep(POLL);
        }
        Ok(Self {
            port,
            dir,
            _process: process,
        })
    }

    /// What the suite wants to know.
    pub(crate) fn environment(&self) -> [(&'static str, String); 5] {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        [
            ("ISOTHERM_TEST_S3_ENDPOINT", endpoint),
            ("ISOTHERM_TEST_S3_BUCKET", BUCKET.to_owned()),
            ("ISOTHERM_TEST_S3_REGION", "us-east-1".to_owned()),
            ("ISOTHERM_TEST_S3_ACCESS_KEY", KEY.to_owned()),
            ("ISOTHERM_TEST_S3_SECRET_KEY", SECRET.to_owned()),
        ]
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        // The process goes after this; what it still writes is in a folder of build products.
        let _ = fs::remove_dir_all(&self.dir);
    }
}
