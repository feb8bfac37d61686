//! The server for the baseline of one XADD per event.

use std::{
    fs::File,
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::bail;

use crate::{process::Process, run};

const START_TIMEOUT: Duration = Duration::from_secs(20);
const START_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Starts a server with the same configuration as in `isotherm dev`.
pub(super) fn valkey(dir: &Path, port: u16) -> anyhow::Result<Process> {
    let program = run::root().join(".tools/bin/valkey-server");
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--appendonly", "yes", "--appendfsync", "everysec"]);
    command.args(["--maxmemory-policy", "noeviction", "--save", ""]);
    command.args(["--daemonize", "no", "--dir"]).arg(dir);
    command.stdin(Stdio::null());
    command.stdout(File::create(dir.join("valkey.log"))?);
    let process = Process::start(command)?;
    let deadline = Instant::now() + START_TIMEOUT;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() >= deadline {
            bail!("valkey-server does not answer on port {port}");
        }
        std::thread::sleep(START_CHECK_INTERVAL);
    }
    Ok(process)
}
