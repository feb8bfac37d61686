//! Measures the lag of the partitions behind the log, for the metric and the readiness check.

use std::time::Duration;

use event_log::EventLog;
use service_runtime::Check;
use tokio::time;
use tokio_util::sync::CancellationToken;
use warm_tier::Catalog;

use crate::metrics::Metrics;

const LAG_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Sets the metric of pending messages and the readiness of `nats`, until `shutdown`.
pub(crate) async fn watch(
    log: EventLog,
    catalog: Catalog,
    metrics: Metrics,
    nats: Check,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut ticks = time::interval(LAG_CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        match pending_messages(&log, &catalog).await {
            Ok(pending) => {
                metrics
                    .pending
                    .set(i64::try_from(pending).unwrap_or(i64::MAX));
                nats.set(true, "");
            }
            Err(error) => nats.set(false, error.to_string()),
        }
    }
}

async fn pending_messages(log: &EventLog, catalog: &Catalog) -> event_log::Result<u64> {
    let mut pending = 0;
    for sealed in catalog.sealed_partitions() {
        let last = log.last_seq(sealed.partition).await?;
        pending += last.saturating_sub(sealed.committed());
    }
    Ok(pending)
}
