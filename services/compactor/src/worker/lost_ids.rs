//! Recovers the event ids that the warm volume has lost, before the first batch is decided: without
//! them a retry of the last 24 h would be stored again.

use anyhow::Context as _;
use cold_tier::{ColdItem, ColdScan};
use event::{PartitionId, RangeSet, Seq, SeqRange, Timestamp};
use futures::StreamExt as _;
use service_runtime::Backoff;
use tokio::{task, time};
use tokio_util::sync::CancellationToken;
use warm_tier::{DEDUPE_AGE, ID_RECOVERY_COLUMNS, RecoveredRows};

use super::Worker;
use crate::{cold::LazyColdTier, context::WorkerContext, log_range};

impl Worker {
    /// Recovers all lost ids. While the log or the cold tier does not answer, the partition is halted;
    /// returns false when the process stops.
    pub(super) async fn recover_ids(
        &mut self,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<bool> {
        for range in self.partition().missing_ids() {
            let mut failures = 0;
            let ids = loop {
                // Maintenance goes on meanwhile: what the slices have is asked again each time.
                let lost = self.lost_ids(range);
                let rows = self.blocking(|partition| partition.begin_id_recovery());
                let read = lost.read(rows.await?);
                let error = match shutdown.run_until_cancelled(read).await {
                    None => return Ok(false),
                    Some(Ok(rows)) => match self.write_ids(lost, rows).await? {
                        Some(ids) => break ids,
                        None => continue,
                    },
                    Some(Err(error)) => error,
                };
                lost.halt(&error);
                let pause = time::sleep(Backoff::default().delay(failures));
                failures += 1;
                shutdown.run_until_cancelled(pause).await;
            };
            let partition = self.partition().id();
            self.context.halts.set(partition, None);
            tracing::info!(%partition, %range, ids, "recovered event ids");
        }
        Ok(true)
    }

    fn lost_ids(&self, range: SeqRange) -> LostIds {
        let partition = self.partition();
        LostIds {
            context: self.context.clone(),
            partition: partition.id(),
            range,
            in_slices: partition.in_slices(range),
            next: partition.next_seq(),
        }
    }

    /// Writes the ids that were read; `None` when they must be read again.
    async fn write_ids(
        &mut self,
        lost: LostIds,
        rows: RecoveredRows,
    ) -> anyhow::Result<Option<u64>> {
        let (range, in_slices) = (lost.range, lost.in_slices);
        self.blocking(move |partition| partition.recover_ids(range, &in_slices, &rows))
            .await
            .context("recover event ids")
    }
}

/// Ids of a range that are in no id file.
struct LostIds {
    context: WorkerContext,
    partition: PartitionId,
    range: SeqRange,
    /// The parts of which warm has the rows themselves: only their ids and the list of duplicates are lost.
    in_slices: RangeSet,
    /// The sequence that is decided next.
    next: Seq,
}

impl LostIds {
    /// Halts the partition because of `error`.
    fn halt(&self, error: &anyhow::Error) {
        let reason = format!(
            "takes nothing from the log: the event ids of {} are lost in warm, without them retries \
             would be stored twice, and they cannot be read again now: {error:#}",
            self.range
        );
        self.context.halts.set(self.partition, Some(reason));
    }

    /// Adds to `rows` what the ids are recovered from: all that the log still has and, where warm does not
    /// have the rows, what cold has. The log is read first: what is purged meanwhile is in cold by then.
    async fn read(&self, rows: RecoveredRows) -> anyhow::Result<RecoveredRows> {
        let (log, partition, range) = (&self.context.log, self.partition, self.range);
        let log_first = log.first_seq(partition).await?;
        let add = RecoveredRows::add_logged;
        let rows = log_range::read_events(log, partition, range, rows, add).await?;
        let elsewhere = RangeSet::from(range).subtract(&self.in_slices);
        let Some(first) = elsewhere.ranges().first() else {
            return Ok(rows);
        };
        if self.context.cold.is_some() {
            return self.read_cold(rows, elsewhere).await;
        }
        if first.lo < log_first {
            tracing::warn!(%partition, %range, "event ids are lost: there is no --cold-url to read them from");
        }
        Ok(rows)
    }

    /// The time when the log took the message that is decided next; `None` when there is none.
    async fn next_received_at(&self) -> anyhow::Result<Option<Timestamp>> {
        let state = self.context.log.state(self.partition).await?;
        let seq = self.next.max(state.first);
        if seq > state.last {
            return Ok(None);
        }
        let range = SeqRange { lo: seq, hi: seq };
        let mut message = self.context.log.read_range(self.partition, range).await?;
        let message = message.next().await.transpose()?;
        Ok(message.map(|message| message.received_at))
    }

    /// Adds the rows of `ranges` that the cold tier has and that the next messages may repeat. A file that
    /// is damaged is left out: its ids are lost.
    async fn read_cold(
        &self,
        mut rows: RecoveredRows,
        ranges: RangeSet,
    ) -> anyhow::Result<RecoveredRows> {
        let cold = self.context.cold.clone();
        let (url, options) = cold.context("there is no cold tier")?;
        let view = LazyColdTier::new(url, options)
            .view(&self.context.log)
            .await
            .context("read the cold tier")?;
        let scan = ColdScan {
            partition: Some(self.partition),
            ranges: Some(ranges),
            received_after: Some(ids_from(view.now, self.next_received_at().await?)),
            columns: Some(ID_RECOVERY_COLUMNS.map(str::to_owned).to_vec()),
            ..ColdScan::default()
        };
        let mut items = std::pin::pin!(view.tier.stream_readable(&view.events, scan));
        while let Some(item) = items.next().await {
            match item.context("read the cold tier")? {
                ColdItem::Batch(batch) => {
                    let add = move || rows.add_stored(batch).map(|()| rows);
                    rows = task::spawn_blocking(add).await??;
                }
                ColdItem::Unread { error, .. } if error.is_damage() => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "event ids of a damaged file are lost");
                }
                ColdItem::Unread { error, .. } => return Err(error).context("read the cold tier"),
            }
        }
        Ok(rows)
    }
}

/// The time from which on ids are needed: 24 h before the message that is decided next, which the log may
/// have taken long ago.
fn ids_from(now: Timestamp, next: Option<Timestamp>) -> Timestamp {
    next.map_or(now, |next| next.min(now)).minus(DEDUPE_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_decided_late_finds_its_repeats_of_the_24_h_before_it() {
        let hours = |hours: i64| Timestamp::from_micros(hours * 3_600_000_000);
        let now = hours(100);
        assert_eq!(ids_from(now, None), hours(76));
        assert_eq!(ids_from(now, Some(hours(80))), hours(56));
        assert_eq!(
            ids_from(now, Some(hours(101))),
            hours(76),
            "the log's clock has stepped back"
        );
    }
}
