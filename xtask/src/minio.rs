//! MinIO for the cold tier's tests: built once from its Go module, started for each test run.

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

const START_TIMEOUT: Duration = Duration::from_secs(60);
const START_CHECK_INTERVAL: Duration = Duration::from_millis(50);
const BUCKET: &str = "isotherm";
const ACCESS_KEY: &str = "isotherm-test";
const SECRET_KEY: &str = "isotherm-secret";

/// A running server; on drop it is killed and its data removed.
#[derive(Debug)]
pub(crate) struct Minio {
    port: u16,
    dir: PathBuf,
    _process: Process,
}

/// Builds it unless this version of the module was built before; takes a few minutes.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let (module, tools) = (
        run::root().join("e2e/minio"),
        run::root().join(".tools/minio"),
    );
    let (program, stamp) = (tools.join("minio"), tools.join("stamp"));
    let lock = fs::read(module.join("go.sum")).context("read e2e/minio/go.sum")?;
    let expected = format!("{:?}", Sha256::digest(&lock));
    if program.is_file() && fs::read_to_string(&stamp).is_ok_and(|built| built == expected) {
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
    fs::write(stamp, expected)?;
    Ok(program)
}

impl Minio {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let program = build()?;
        let port = process::free_base()?;
        let dir = process::target_folder()?.join(format!("minio/{}", std::process::id()));
        // A bucket is a folder below the data.
        fs::create_dir_all(dir.join("data").join(BUCKET))?;
        let mut command = Command::new(program);
        command.args(["server", "--quiet", "--address"]);
        command.arg(format!("127.0.0.1:{port}"));
        command.args(["--console-address", &format!("127.0.0.1:{}", port + 1)]);
        command.arg(dir.join("data"));
        command.env("MINIO_ROOT_USER", ACCESS_KEY);
        command.env("MINIO_ROOT_PASSWORD", SECRET_KEY);
        command.stdin(Stdio::null());
        command.stdout(File::create(dir.join("minio.log"))?);
        let mut process = Process::start(command)?;
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() >= deadline || process.has_ended() {
                bail!(
                    "minio does not answer on port {port}: see {}",
                    dir.display()
                );
            }
            std::thread::sleep(START_CHECK_INTERVAL);
        }
        Ok(Self {
            port,
            dir,
            _process: process,
        })
    }

    /// The environment variables that the cold tier's tests read.
    pub(crate) fn environment(&self) -> [(&'static str, String); 5] {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        [
            ("ISOTHERM_TEST_S3_ENDPOINT", endpoint),
            ("ISOTHERM_TEST_S3_BUCKET", BUCKET.to_owned()),
            ("ISOTHERM_TEST_S3_REGION", "us-east-1".to_owned()),
            ("ISOTHERM_TEST_S3_ACCESS_KEY", ACCESS_KEY.to_owned()),
            ("ISOTHERM_TEST_S3_SECRET_KEY", SECRET_KEY.to_owned()),
        ]
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        // The process is killed after this; what it still writes is below the target directory.
        let _ = fs::remove_dir_all(&self.dir);
    }
}
