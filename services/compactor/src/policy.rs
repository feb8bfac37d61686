//! Follows the rules in force and acknowledges them.

use std::sync::Arc;

use anyhow::Context as _;
use event_log::{Error, EventLog};
use futures::StreamExt as _;
use retention::RuleSet;
use service_runtime::Backoff;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Sends every change of the rules to `rules`, then acknowledges it in the log.
pub(crate) async fn follow(
    log: EventLog,
    rules: watch::Sender<Arc<RuleSet>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut changes = log.watch_policy();
    loop {
        let change = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            change = changes.next() => change.context("policy watch ended")?,
        };
        let hash = change.hash();
        tracing::info!(policy.hash = hash, "follows new rules");
        rules.send_replace(change);
        let acknowledged = Backoff::default()
            .retry("acknowledge policy", &shutdown, Error::is_transient, || {
                log.ack_policy("compactor", &hash)
            })
            .await;
        if !shutdown.is_cancelled() {
            acknowledged.context("acknowledge policy")?;
        }
    }
}
