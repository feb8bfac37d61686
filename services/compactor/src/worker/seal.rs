//! Sealing beside the appends, and the watermark that says how far the worker is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use event_log::Watermark;
use service_runtime::Backoff;
use tokio::task::{self, JoinError, JoinHandle};
use warm_tier::SealOutcome;

use super::Worker;
use crate::{config::SealRules, metrics::PartitionStats};

/// After a seal that failed for lack of memory, disk or another thing of the machine.
const SEAL_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(10),
    max: Duration::from_secs(600),
};

/// A seal on a thread of its own.
pub(super) struct RunningSeal {
    started: Instant,
    task: JoinHandle<warm_tier::Result<SealOutcome>>,
}

/// The result of a seal, or the panic of its thread.
pub(super) type FinishedSeal = Result<warm_tier::Result<SealOutcome>, JoinError>;

/// Waits for `seal`; without one, forever. Safe to cancel.
pub(super) async fn finished(seal: &mut Option<RunningSeal>) -> FinishedSeal {
    match seal {
        Some(seal) => (&mut seal.task).await,
        None => std::future::pending().await,
    }
}

pub(super) fn is_out_of_memory(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<warm_tier::Error>();
    error.is_some_and(warm_tier::Error::is_out_of_memory)
}

impl Worker {
    pub(super) fn is_time_to_seal(&self) -> bool {
        let may_retry = self.seal_retry.is_none_or(|(_, at)| at <= Instant::now());
        if self.is_latched || self.seal.is_some() || !may_retry {
            return false;
        }
        if self.seal_retry.is_some() {
            return true;
        }
        let state = self.partition().open_state();
        let waited = self
            .open_since
            .map_or(Duration::ZERO, |since| since.elapsed());
        let SealRules { bytes, after } = self.context.seal;
        let wanted = self.context.open_memory.wants_seal(self.partition().id());
        !state.is_empty && (state.open_bytes >= bytes || waited >= after || wanted)
    }

    /// Starts to seal the open part, or the one whose seal has failed.
    pub(super) fn start_seal(&mut self) {
        // A seal of another partition is running: the next tick tries again.
        let Ok(permit) = Arc::clone(&self.context.seals).try_acquire_owned() else {
            return;
        };
        let partition = self.partition.as_mut().expect("no blocking thread has it");
        let Some(seal) = partition.start_seal() else {
            return;
        };
        self.open_since = self.open_since.filter(|_| self.seal_retry.is_some());
        let rules = Arc::clone(&self.context.rules.borrow());
        let task = task::spawn_blocking(move || {
            let sealed = seal.run(&rules);
            drop(permit);
            sealed
        });
        self.seal = Some(RunningSeal {
            started: Instant::now(),
            task,
        });
    }

    pub(super) async fn finish_seal(&mut self, sealed: FinishedSeal) -> anyhow::Result<()> {
        let started = self.seal.take().map(|seal| seal.started);
        let sealed = sealed.context("a seal")?;
        let metrics = &self.context.metrics;
        let seconds = started.map_or(0.0, |started| started.elapsed().as_secs_f64());
        metrics.seal_seconds.observe(seconds);
        let result = if sealed.is_ok() { "ok" } else { "error" };
        metrics.seals.with_label_values(&[result]).inc();
        let sealed = match sealed {
            Err(error) if error.is_of_the_machine() => {
                self.retry_seal_later(&error);
                return Ok(());
            }
            sealed => sealed.context("seal")?,
        };
        self.seal_retry = None;
        tracing::info!(
            partition = %self.partition().id(),
            lo = sealed.range.lo,
            hi = sealed.range.hi,
            slices = sealed.slices.len(),
            events = sealed.slices.iter().map(|slice| slice.rows).sum::<u64>(),
            "sealed"
        );
        // Without the log's time no id is forgotten now: the next seal does it.
        let now = self.context.log.now().await.ok();
        self.blocking(move |partition| partition.finish_seal(&sealed, now))
            .await?;
        self.publish();
        Ok(())
    }

    /// A seal that failed has changed nothing: it is tried again.
    fn retry_seal_later(&mut self, error: &warm_tier::Error) {
        let failures = self.seal_retry.map_or(0, |(failures, _)| failures);
        let pause = SEAL_BACKOFF.delay(failures);
        self.seal_retry = Some((failures + 1, Instant::now() + pause));
        let error = error as &dyn std::error::Error;
        tracing::warn!(
            partition = %self.partition().id(),
            error,
            retry_in_s = pause.as_secs(),
            "seal failed, will retry"
        );
    }

    /// Updates the metrics and the watermark.
    pub(super) fn publish(&self) {
        let partition = self.partition();
        let (sealed, open) = (partition.sealed().totals(), partition.open_state());
        let stats = PartitionStats {
            events: sealed.events + open.events,
            bytes: sealed.disk_bytes,
            oldest: sealed.oldest.into_iter().chain(open.oldest).min(),
        };
        let (memory, metrics) = (&self.context.open_memory, &self.context.metrics);
        memory.set(partition.id(), open.open_bytes, open.sealing_bytes);
        let used = i64::try_from(memory.used()).unwrap_or(i64::MAX);
        metrics.open_memory.set(used);
        metrics.set_partition_stats(partition.id(), stats);
        let watermark = Watermark::Warm {
            partition: partition.id(),
            committed: partition.next_seq() - 1,
            sealed: sealed.sealed,
            events: stats.events,
            bytes: stats.bytes,
            oldest_at: stats.oldest,
            flight_url: self.context.flight_url.clone(),
        };
        self.watermarks.send_if_modified(|last| {
            let changed = last.as_ref() != Some(&watermark);
            *last = Some(watermark);
            changed
        });
    }
}
