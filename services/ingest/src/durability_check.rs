//! The durability check at the start: every nats-server must sync each write before it acknowledges.

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tracing::warn;

use crate::config::Config;

/// The fields of a nats-server's `/varz` response that are checked.
#[derive(Debug, Default, Deserialize)]
struct Varz {
    #[serde(default)]
    server_name: String,
    jetstream: Option<JetStream>,
    #[serde(default)]
    cluster: Cluster,
}

#[derive(Debug, Default, Deserialize)]
struct JetStream {
    config: Option<JetStreamConfig>,
}

#[derive(Debug, Default, Deserialize)]
struct JetStreamConfig {
    #[serde(default)]
    sync_always: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Cluster {
    #[serde(default)]
    name: String,
}

/// Fails for a log that may lose acknowledged events; with `--allow-unsafe-log` it only logs a warning.
pub(crate) async fn check(config: &Config) -> anyhow::Result<()> {
    let Err(error) = check_servers(config).await else {
        return Ok(());
    };
    if !config.allow_unsafe_log {
        return Err(error);
    }
    warn!(
        reason = format!("{error:#}"),
        "UNSAFE LOG: acknowledged events may be lost; never run production like this"
    );
    Ok(())
}

/// Checks each server of the monitor URLs.
async fn check_servers(config: &Config) -> anyhow::Result<()> {
    if config.monitor_urls.is_empty() {
        bail!(
            "cannot verify that nats-server syncs every write; give --nats-monitor-url, or \
             --allow-unsafe-log on a laptop"
        );
    }
    for url in &config.monitor_urls {
        let varz = varz(url).await;
        let varz = varz.with_context(|| format!("ask nats-server at {url} how it stores"))?;
        check_server(&varz, config.log_replicas)?;
    }
    Ok(())
}

/// Reads `/varz` of the server whose monitor is at `url`.
async fn varz(url: &str) -> anyhow::Result<Varz> {
    let url = format!("{}/varz", url.trim_end_matches('/'));
    let client = reqwest::Client::builder()
        .timeout(std::time::Duration::from_secs(5))
        .build()?;
    let response = client.get(url).send().await?.error_for_status()?;
    Ok(response.json().await?)
}

/// Checks that a server syncs every write, and that `replicas` fits its cluster.
fn check_server(varz: &Varz, replicas: usize) -> anyhow::Result<()> {
    let name = &varz.server_name;
    let Some(JetStream {
        config: Some(jetstream),
    }) = &varz.jetstream
    else {
        bail!("nats-server {name} runs without JetStream");
    };
    if !jetstream.sync_always {
        bail!(
            "nats-server {name} does not sync every write, so a power loss takes acknowledged \
             events; set `sync_interval: always` in its jetstream block, or start with \
             --allow-unsafe-log on a laptop"
        );
    }
    if replicas < 3 && !varz.cluster.name.is_empty() {
        bail!(
            "nats-server {name} is part of a cluster, and --log-replicas {replicas} would keep \
             each event on too few of its nodes; use 3"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_server;

    fn check(json: &str, replicas: usize) -> Result<(), String> {
        check_server(&serde_json::from_str(json).unwrap(), replicas)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn only_a_log_that_syncs_every_write_is_safe() {
        let always =
            r#"{"server_name":"n","jetstream":{"config":{"sync_always":true}},"cluster":{}}"#;
        check(always, 1).unwrap();
        check(always, 3).unwrap();
        let lazy = r#"{"server_name":"n","jetstream":{"config":{"sync_interval":120000000000}}}"#;
        assert!(
            check(lazy, 3)
                .unwrap_err()
                .contains("sync_interval: always")
        );
        assert!(check("{}", 3).unwrap_err().contains("JetStream"));
    }

    #[test]
    fn one_replica_is_for_a_single_server_only() {
        let clustered = r#"{"jetstream":{"config":{"sync_always":true}},"cluster":{"name":"c"}}"#;
        check(clustered, 3).unwrap();
        assert!(
            check(clustered, 1)
                .unwrap_err()
                .contains("--log-replicas 1")
        );
    }
}
