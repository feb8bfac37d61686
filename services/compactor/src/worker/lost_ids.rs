//! Recovers the event ids that the warm volume has lost, before the first batch is decided: without
//! them a retry of the last 24 h would be stored again.

use anyhow::Context as _;
use cold_tier::{ColdItem, ColdScan};
use event::{PartitionId, SeqRange};
use event_log::FloodGuard;
use futures::{StreamExt as _, TryStreamExt as _};
use service_runtime::Backoff;
use tokio::{task, time};
use tokio_util::sync::CancellationToken;
use warm_tier::{DEDUPE_AGE, ID_RECOVERY_COLUMNS, RecoveredRows};

use super::{MAX_CHUNK_MESSAGES, Worker};
use crate::{cold::LazyColdTier, context::WorkerContext, decode};

impl Worker {
    /// Recovers all lost ids. While the log or the cold tier does not answer, the partition is halted;
    /// returns false when the process stops.
    pub(super) async fn recover_ids(
        &mut self,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<bool> {
        for range in self.partition().missing_ids() {
            let lost = LostIds {
                context: self.context.clone(),
                partition: self.partition().id(),
                range,
                is_in_warm: self.partition().has_all(range),
            };
            let mut failures = 0;
            let rows = loop {
                let rows = self.blocking(|partition| partition.begin_id_recovery());
                let read = lost.read(rows.await?);
                let error = match shutdown.run_until_cancelled(read).await {
                    None => return Ok(false),
                    Some(Ok(rows)) => break rows,
                    Some(Err(error)) => error,
                };
                lost.halt(Some(&error));
                let pause = time::sleep(Backoff::default().delay(failures));
                failures += 1;
                shutdown.run_until_cancelled(pause).await;
            };
            lost.halt(None);
            let ids = self
                .blocking(move |partition| partition.recover_ids(range, &rows))
                .await
                .context("recover event ids")?;
            tracing::info!(partition = %lost.partition, %range, ids, "recovered event ids");
        }
        Ok(true)
    }
}

/// Ids of a range that are in no id file.
struct LostIds {
    context: WorkerContext,
    partition: PartitionId,
    range: SeqRange,
    /// Warm has the rows themselves, and only their ids and the list of duplicates are lost.
    is_in_warm: bool,
}

impl LostIds {
    /// Halts the partition because of `error`, or lets it go on.
    fn halt(&self, error: Option<&anyhow::Error>) {
        let reason = error.map(|error| {
            format!(
                "takes nothing from the log: the event ids of {} are lost in warm, without them retries \
                 would be stored twice, and they cannot be read again now: {error:#}",
                self.range
            )
        });
        self.context.halts.set(self.partition, reason);
    }

    /// Adds to `rows` what the ids are recovered from.
    async fn read(&self, rows: RecoveredRows) -> anyhow::Result<RecoveredRows> {
        if self.is_in_warm {
            return self.read_log(rows).await;
        }
        if self.context.cold.is_some() {
            return self.read_cold(rows).await;
        }
        let (partition, range) = (self.partition, self.range);
        tracing::warn!(%partition, %range, "event ids are lost: there is no --cold-url to read them from");
        Ok(rows)
    }

    /// Adds the events that the log still has.
    async fn read_log(&self, mut rows: RecoveredRows) -> anyhow::Result<RecoveredRows> {
        let messages = self.context.log.read_range(self.partition, self.range);
        let mut chunks = messages.await?.try_chunks(MAX_CHUNK_MESSAGES);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| error.1)?;
            rows = task::spawn_blocking(move || {
                // Its dead letters were counted and stored when it was taken.
                let decoded = decode::batches(chunk, &mut FloodGuard::new(true));
                for batch in decoded.batches {
                    rows.add_logged(&batch.frames.events)?;
                }
                anyhow::Ok(rows)
            })
            .await??;
        }
        Ok(rows)
    }

    /// Adds the rows of the last 24 h that the cold tier has. A file that is damaged is left out: its
    /// ids are lost.
    async fn read_cold(&self, mut rows: RecoveredRows) -> anyhow::Result<RecoveredRows> {
        let cold = self.context.cold.clone();
        let (url, options) = cold.context("there is no cold tier")?;
        let view = LazyColdTier::new(url, options)
            .view(&self.context.log)
            .await
            .context("read the cold tier")?;
        let scan = ColdScan {
            partition: Some(self.partition),
            ranges: Some(self.range.into()),
            received_after: Some(view.now.minus(DEDUPE_AGE)),
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
