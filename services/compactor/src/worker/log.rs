//! Opening the log, and what the worker does when it is not the log that was read before.

use anyhow::Context as _;
use event_log::LATCH_CHECK_INTERVAL;
use futures::{StreamExt as _, stream};
use tokio::time;

use super::{Worker, chunks::Chunks};
use crate::log_identity;

impl Worker {
    /// Opens the log behind what is stored. Nothing is read from one that is not the log that was read
    /// before.
    pub(super) async fn open_log(&mut self) -> anyhow::Result<Chunks> {
        let (id, next) = (self.partition().id(), self.partition().next_seq());
        let messages = match self.context.log.read_from(id, next).await {
            Err(error) if error.is_divergence() => {
                self.latch(&error);
                return Ok(Chunks::new(stream::empty().boxed()));
            }
            Err(error) if error.is_transient() => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, partition = %id, "log not read, will retry");
                self.halted_until = Some(time::Instant::now() + LATCH_CHECK_INTERVAL);
                return Ok(Chunks::new(stream::empty().boxed()));
            }
            messages => messages.context("read the log")?,
        };
        if std::mem::take(&mut self.is_latched) {
            self.context.halts.set(id, None);
        }
        Ok(Chunks::new(messages.boxed()))
    }

    /// Reads and seals nothing until a person has restored the log.
    pub(super) fn latch(&mut self, error: &event_log::Error) {
        let id = self.partition().id();
        self.context.halts.set(id, Some(error.to_string()));
        self.is_latched = true;
        self.halted_until = Some(time::Instant::now() + LATCH_CHECK_INTERVAL);
    }

    /// Checks the log's identity. Without the next sequence, continues at the first that the log has.
    pub(super) async fn check_log(&mut self) -> anyhow::Result<()> {
        let end = self.blocking(|partition| partition.log_end()).await?;
        let (id, next) = (self.partition().id(), self.partition().next_seq());
        let state = log_identity::check_warm(&self.context, id, end).await?;
        if state.first <= next {
            return Ok(());
        }
        tracing::error!(
            partition = %self.partition().id(),
            expected = next,
            first = state.first,
            "events were purged from the log before they were stored, the range becomes a gap"
        );
        let first = state.first;
        self.blocking(move |partition| partition.skip_to(first))
            .await
    }
}
