//! Configuration of nats-server and valkey-server: they listen on 127.0.0.1, NATS syncs every
//! acknowledged write, Valkey never evicts.

use std::{ffi::OsString, fs, path::Path, time::Duration};

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{ports::Ports, services::DevConfig};

/// Timeout of one readiness probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Writes `nats.conf` and returns the arguments that make the server read it.
pub(crate) fn nats(config: &DevConfig) -> anyhow::Result<Vec<OsString>> {
    let file = config.data.join("nats.conf");
    let config = nats_config(&config.data, config.ports, &config.monitor_path);
    fs::write(&file, config).with_context(|| format!("write {}", file.display()))?;
    Ok(vec!["-c".into(), file.into()])
}

/// The monitor answers only below `monitor_path`, which nobody can guess: nats-server asks neither for a
/// Host nor for a password there, so any page in a browser could read it.
fn nats_config(data: &Path, ports: Ports, monitor_path: &str) -> String {
    let store = quoted(&data.join("nats").to_string_lossy());
    format!(
        "# Written by `isotherm dev` at every start.\n\
         server_name: isotherm-dev\n\
         listen: \"127.0.0.1:{}\"\n\
         http: \"127.0.0.1:{}\"\n\
         http_base_path: \"{monitor_path}\"\n\
         max_payload: 1MB\n\
         jetstream {{\n  store_dir: {store}\n  sync_interval: always\n}}\n",
        ports.nats(),
        ports.nats_monitor(),
    )
}

/// Quotes a string for the configuration language of nats-server.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Creates the folder of the server and returns its arguments.
pub(crate) fn valkey(config: &DevConfig) -> anyhow::Result<Vec<OsString>> {
    let dir = config.data.join("valkey");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let port = config.ports.valkey().to_string();
    let mut args: Vec<OsString> = [
        "--bind",
        "127.0.0.1",
        "--port",
        &port,
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
        "--maxmemory-policy",
        "noeviction",
        "--save",
        "",
        "--daemonize",
        "no",
        "--dir",
    ]
    .iter()
    .map(OsString::from)
    .collect();
    args.push(dir.into());
    Ok(args)
}

/// True when Valkey answers PING, which it does after it has loaded its files.
pub(crate) async fn valkey_answers(port: u16) -> bool {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(b"PING\r\n").await.ok()?;
        let mut answer = [0; 64];
        let length = stream.read(&mut answer).await.ok()?;
        Some(answer[..length].starts_with(b"+PONG"))
    };
    matches!(timeout(PROBE_TIMEOUT, exchange).await, Ok(Some(true)))
}

/// True when an HTTP endpoint answers with a 2xx status.
pub(crate) async fn http_ok(http: &reqwest::Client, url: &str) -> bool {
    let answer = http.get(url).timeout(PROBE_TIMEOUT).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_acknowledged_write_is_synced_and_the_path_is_quoted() {
        let config = nats_config(
            Path::new("/tmp/a \"b\""),
            Ports::new(7400).unwrap(),
            "/secret",
        );
        assert!(config.contains("http_base_path: \"/secret\""), "{config}");
        assert!(config.contains("sync_interval: always"), "{config}");
        assert!(
            config.contains(r#"store_dir: "/tmp/a \"b\"/nats""#),
            "{config}"
        );
        assert!(config.contains("listen: \"127.0.0.1:7422\""), "{config}");
    }
}
