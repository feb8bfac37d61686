//! Refills slices that were lost in warm from the log.

use std::sync::Arc;

use event::{PartitionId, Seq, SeqRange, StoredEvent};
use event_log::{EventLog, FloodGuard};
use futures::StreamExt as _;
use tokio::task;
use warm_tier::{LostSlice, SealedPartition};

use super::{Maintenance, run_blocking};
use crate::decode;

impl Maintenance {
    pub(super) async fn refill(&self, sealed: &Arc<SealedPartition>, cold: Seq) {
        for lost in warm_tier::to_refill(sealed, cold) {
            match self.refill_one(sealed, lost.clone()).await {
                Ok(true) => {
                    tracing::info!(lo = lost.lo, hi = lost.hi, "refilled slice from the log")
                }
                Ok(false) => {}
                Err(error) => {
                    if is_refused(&error) {
                        self.gaps.refuse_refill(sealed.partition, range_of(&lost));
                    }
                    let (partition, error) = (sealed.partition, format!("{error:#}"));
                    tracing::error!(error, %partition, lo = lost.lo, hi = lost.hi, "cannot refill slice");
                }
            }
        }
    }

    /// Refills one slice; `false` when the log no longer has all of its range.
    async fn refill_one(
        &self,
        sealed: &Arc<SealedPartition>,
        lost: LostSlice,
    ) -> anyhow::Result<bool> {
        let range = range_of(&lost);
        if self.context.log.first_seq(sealed.partition).await? > range.lo {
            return Ok(false);
        }
        let events = read_events(&self.context.log, sealed.partition, range).await?;
        let rules = Arc::clone(&self.context.rules.borrow());
        run_blocking(&self.tier, sealed, move |engine, sealed| {
            warm_tier::refill(engine, sealed, &lost, &rules, &events)
        })
        .await?;
        Ok(true)
    }
}

/// Whether the log has other rows than the slice had, so that a retry fails too.
fn is_refused(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<warm_tier::Error>();
    matches!(error, Some(warm_tier::Error::Damaged { .. }))
}

fn range_of(lost: &LostSlice) -> SeqRange {
    SeqRange {
        lo: lost.lo,
        hi: lost.hi,
    }
}

/// Reads and decodes the events of `range`.
async fn read_events(
    log: &EventLog,
    partition: PartitionId,
    range: SeqRange,
) -> anyhow::Result<Vec<StoredEvent>> {
    let messages = log.read_range(partition, range).await?;
    let messages: Vec<_> = messages.collect().await;
    let messages = messages.into_iter().collect::<Result<Vec<_>, _>>()?;
    // The range was taken before: its dead letters were counted and stored then.
    let decode = move || decode::batches(messages, &mut FloodGuard::new(true));
    let decoded = task::spawn_blocking(decode).await?;
    if let Some(halt) = decoded.halt {
        return Err(halt.into());
    }
    let batches = decoded.batches.into_iter();
    Ok(batches.flat_map(|batch| batch.frames.events).collect())
}
