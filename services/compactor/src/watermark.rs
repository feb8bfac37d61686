//! Publishes the newest watermark of a partition, always after the commit it speaks of.

use std::time::Duration;

use event_log::{Error, EventLog, Watermark};
use service_runtime::Backoff;
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

/// Between two of one partition.
const PAUSE: Duration = Duration::from_millis(100);

/// Publishes what `newest` holds, whenever it changes; what is overtaken is left out.
pub(crate) async fn publish(
    log: EventLog,
    mut newest: watch::Receiver<Option<Watermark>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let watermark = newest.borrow_and_update().clone();
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
            changed = newest.changed() => if changed.is_err() {
                // Its worker has ended, which ends the process.
                shutdown.cancelled().await;
                return Ok(());
            },
        }
        time::sleep(PAUSE).await;
    }
}
