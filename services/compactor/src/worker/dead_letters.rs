//! What the worker does with frames that cannot be read: stores them, or stops before them.

use anyhow::Context as _;
use event_log::{DeadLetter, FloodGuard, HALT_RETRY_INTERVAL, Halt};
use service_runtime::Backoff;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::Worker;

impl Worker {
    /// Counts the dead letters before the next frame, as before the start.
    pub(super) async fn resume_flood_guard(&mut self) -> anyhow::Result<()> {
        let (id, next) = (self.partition().id(), self.partition().next_seq());
        let open = self.context.log.open_dead_letters(id).await;
        let open = open.context("read the dead letters")?;
        let closed = self.context.log.closed_dead_letters(id).await;
        let closed = closed.context("read the closed dead letters")?;
        let accepts_all = self.context.accept_dead_letters;
        self.flood_guard = Some(FloodGuard::resumed(accepts_all, next, &open, closed));
        Ok(())
    }

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
        self.set_halt_reason(halt.map(|halt| halt.to_string()));
    }

    /// Stops reading for a while before frames whose ids DuckDB has no memory to look up.
    pub(super) fn halt_for_memory(&mut self, error: &anyhow::Error) {
        let seq = self.partition().next_seq();
        self.set_halt_reason(Some(format!(
            "stopped before frame {seq}: DuckDB has no memory to look up its event ids; it is tried again every \
             {} s; raise --memory-limit if this stays ({error:#})",
            HALT_RETRY_INTERVAL.as_secs()
        )));
    }

    fn set_halt_reason(&mut self, reason: Option<String>) {
        let retry_at = || time::Instant::now() + HALT_RETRY_INTERVAL;
        self.halted_until = reason.as_ref().map(|_| retry_at());
        self.context.halts.set(self.partition().id(), reason);
    }
}
