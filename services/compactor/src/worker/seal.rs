//! Sealing, and the watermark that says how far the worker is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use event_log::Watermark;
use service_runtime::Backoff;

use super::Worker;
use crate::metrics::PartitionStats;

/// After a seal that failed for memory.
const SEAL_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(10),
    max: Duration::from_secs(600),
};

fn is_out_of_memory(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<warm_tier::Error>();
    error.is_some_and(warm_tier::Error::is_out_of_memory)
}

impl Worker {
    pub(super) async fn seal(&mut self) -> anyhow::Result<()> {
        // Another seal or merge is running: the next tick tries again.
        let Ok(permit) = Arc::clone(&self.context.seal_or_merge).try_acquire_owned() else {
            return Ok(());
        };
        let rules = Arc::clone(&self.context.rules.borrow());
        // Without the log's time no id is forgotten now: the next seal does it.
        let now = self.context.log.now().await.ok();
        let started = Instant::now();
        let sealed = self
            .blocking(move |partition| {
                now.map_or(Ok(()), |now| partition.forget_ids(now))?;
                partition.seal(&rules)
            })
            .await;
        drop(permit);
        let metrics = &self.context.metrics;
        metrics
            .seal_seconds
            .observe(started.elapsed().as_secs_f64());
        let result = if sealed.is_ok() { "ok" } else { "error" };
        metrics.seals.with_label_values(&[result]).inc();
        if let Err(error) = &sealed
            && is_out_of_memory(error)
        {
            self.retry_seal_later(error);
            return Ok(());
        }
        self.open_since = None;
        self.seal_retry = None;
        if let Some(sealed) = sealed? {
            tracing::info!(
                partition = %self.partition().id(),
                lo = sealed.range.lo,
                hi = sealed.range.hi,
                slices = sealed.slices.len(),
                events = sealed.slices.iter().map(|slice| slice.rows).sum::<u64>(),
                "sealed"
            );
        }
        Ok(())
    }

    /// A seal that failed for memory has changed nothing: the segment stays open, and it is tried again.
    fn retry_seal_later(&mut self, error: &anyhow::Error) {
        let failures = self.seal_retry.map_or(0, |(failures, _)| failures);
        let pause = SEAL_BACKOFF.delay(failures);
        self.seal_retry = Some((failures + 1, Instant::now() + pause));
        tracing::warn!(
            partition = %self.partition().id(),
            error = format!("{error:#}"),
            retry_in_s = pause.as_secs(),
            "seal failed for memory, will retry"
        );
    }

    /// Updates the metrics and the watermark.
    pub(super) fn publish(&self) {
        let partition = self.partition();
        let (sealed, open) = (partition.sealed().totals(), partition.open_state());
        let stats = PartitionStats {
            events: sealed.events + open.events,
            bytes: sealed.disk_bytes + open.file_bytes,
            oldest: sealed.oldest.into_iter().chain(open.oldest).min(),
        };
        self.context
            .metrics
            .set_partition_stats(partition.id(), stats);
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
