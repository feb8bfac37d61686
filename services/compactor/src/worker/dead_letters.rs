//! What the worker does with frames that cannot be read: stores them, or stops before them.

use anyhow::Context as _;
use event_log::{DeadLetter, HALT_RETRY_INTERVAL, Halt};
use service_runtime::Backoff;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::Worker;

impl Worker {
    /// Stores the dead letters, before the offset moves past their frames. Retries until there is
    /// room for them; returns false when the process stops.
    pub(super) async fn store_dead_letters(
        &mut self,
        letters: &[DeadLetter],
        shutdown: &CancellationToken,
    ) -> anyhow::Result<bool> {
        for letter in letters {
            let (position, reason) = (letter.position, &letter.reason);
            tracing::error!(%position, reason, "frame cannot be read and becomes a dead letter");
            let log = &self.context.log;
            let transient = event_log::Error::is_transient;
            let stored = Backoff::default()
                .retry("store a dead letter", shutdown, transient, || {
                    log.store_dead_letter(letter)
                })
                .await;
            if shutdown.is_cancelled() {
                return Ok(false);
            }
            stored.context("store a dead letter")?;
        }
        Ok(true)
    }

    /// Stops reading for a while because of `halt`, or notes that nothing stops it.
    pub(super) fn set_halt(&mut self, halt: Option<Halt>) {
        let id = self.partition().id();
        let reason = halt.map(|halt| halt.to_string());
        self.halted_until = halt.map(|_| time::Instant::now() + HALT_RETRY_INTERVAL);
        self.context.halts.set(id, reason);
    }
}
