//! Acknowledgements of the rules by the services.

use std::time::{Duration, Instant};

use event_log::EventLog;

use crate::output::Row;

/// Services read the rules every second.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
const ACK_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Waits until every component that has ever acknowledged rules acknowledges those of `hash`, at most
/// [`ACK_TIMEOUT`]. Returns the last acknowledgements: component and hash.
pub(super) async fn wait(log: &EventLog, hash: &str) -> anyhow::Result<Vec<(String, String)>> {
    let deadline = Instant::now() + ACK_TIMEOUT;
    loop {
        let acks = log.policy_acks().await?;
        let all_follow = !acks.is_empty() && acks.iter().all(|(_, acked)| acked == hash);
        if all_follow || Instant::now() >= deadline {
            return Ok(acks);
        }
        tokio::time::sleep(ACK_POLL_INTERVAL).await;
    }
}

/// Formats the acknowledgements for output.
pub(super) fn rows(acks: &[(String, String)], hash: &str) -> Vec<Row> {
    let rows = acks.iter().map(|(component, acked)| {
        Row::default()
            .with("component", component)
            .with("follows", if acked == hash { "yes" } else { "not yet" })
            .with("rules", short(acked))
    });
    rows.collect()
}

/// A prefix of the hash that is long enough to distinguish two.
fn short(hash: &str) -> &str {
    let digits = hash.strip_prefix("sha256:").unwrap_or(hash);
    digits.get(..12).unwrap_or(digits)
}
