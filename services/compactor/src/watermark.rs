//! Publishes the latest watermark of a partition, always after the commit that it states.

use std::time::Duration;

use event_log::{Error, EventLog, Watermark};
use service_runtime::Backoff;
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

/// Shortest time between two watermarks of a partition. No reason but to bound their rate.
const MIN_PUBLISH_INTERVAL: Duration = Duration::from_millis(100);

/// Publishes the value of `latest` whenever it changes; values that were replaced before they could
/// be published are skipped.
pub(crate) async fn publish(
    log: EventLog,
    mut latest: watch::Receiver<Option<Watermark>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let watermark = latest.borrow_and_update().clone();
        if let Some(watermark) = watermark {
            let publish = || log.publish_watermark(&watermark);
            Backoff::default()
                .retry("publish watermark", &shutdown, Error::is_transient, publish)
                .await
                .or_else(|error| {
                    if shutdown.is_cancelled() {
                        Ok(())
                    } else {
                        Err(error)
                    }
                })?;
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            changed = latest.changed() => if changed.is_err() {
                // Its worker has ended, which ends the process.
                shutdown.cancelled().await;
                return Ok(());
            },
        }
        time::sleep(MIN_PUBLISH_INTERVAL).await;
    }
}
