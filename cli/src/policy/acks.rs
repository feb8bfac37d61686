//! Who follows the rules already.

use std::time::{Duration, Instant};

use event_log::EventLog;

use crate::output::Row;

/// Services look every second.
const LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

/// Waits until every component that ever followed rules follows those of `hash`, and says who
/// follows what at the end.
pub(super) async fn wait(log: &EventLog, hash: &str) -> anyhow::Result<Vec<(String, String)>> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let acks = log.policy_acks().await?;
        let all = !acks.is_empty() && acks.iter().all(|(_, acked)| acked == hash);
        if all || Instant::now() >= deadline {
            return Ok(acks);
        }
        tokio::time::sleep(POLL).await;
    }
}

pub(super) fn rows(acks: &[(String, String)], hash: &str) -> Vec<Row> {
    let rows = acks.iter().map(|(component, acked)| {
        Row::default()
            .with("component", component)
            .with("follows", if acked == hash { "yes" } else { "not yet" })
            .with("rules", short(acked))
    });
    rows.collect()
}

/// Enough of `sha256:…` to tell two apart.
fn short(hash: &str) -> &str {
    let digits = hash.strip_prefix("sha256:").unwrap_or(hash);
    digits.get(..12).unwrap_or(digits)
}
