//! Puts objects again that are missing or cut, while warm still has all of their rows.

use anyhow::{Context as _, ensure};
use arrow::compute::concat_batches;
use cold_tier::{Change, ColdFile, ColdTier, PendingFile, Provenance, Table};
use event::{PartitionId, TenantId, Timestamp};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Map, json};
use warm_tier::remote::{self, Client, PartitionCoverage, Scan};

use crate::{
    group::RowsByDay,
    plan,
    run::{MAX_TRANSIENT_ERRORS, Run, TRANSIENT_ERROR_PAUSE, is_transient},
    summary::Summary,
};

/// Requests at once that ask for the size of an object; no reason but to bound the load on the store.
const MAX_CONCURRENT_CHECKS: usize = 16;

impl Run<'_> {
    /// Checks the objects of all files whose rows are still in the warm tier of one compactor, and puts
    /// those again that are missing or cut.
    pub(crate) async fn repair_from(
        &self,
        warm: &Client,
        now: Timestamp,
        summary: &mut Summary,
    ) -> anyhow::Result<()> {
        let coverage = warm.coverage().await;
        let coverage = coverage.context("ask the compactor what is sealed")?;
        for own in coverage.partitions {
            let repaired = self.repair_partition(warm, own.partition, now, summary);
            if let Err(error) = repaired.await {
                summary.record_error(&format!("repair {}", own.partition), &error);
            }
        }
        Ok(())
    }

    async fn repair_partition(
        &self,
        warm: &Client,
        partition: PartitionId,
        now: Timestamp,
        summary: &mut Summary,
    ) -> anyhow::Result<()> {
        let mut transient_errors = 0;
        loop {
            let coverage = warm.coverage().await.context("ask the compactor")?;
            let Some(coverage) = coverage.partition(partition) else {
                return Ok(());
            };
            let repair = Repair {
                warm,
                cold: self.cold,
                coverage,
                now,
            };
            match repair.run(summary).await {
                Err(error) if is_transient(&error) && transient_errors < MAX_TRANSIENT_ERRORS => {
                    transient_errors += 1;
                    tokio::time::sleep(TRANSIENT_ERROR_PAUSE).await;
                }
                result => return result,
            }
        }
    }
}

/// The repair of the files of one partition, by one reading of its coverage.
struct Repair<'a> {
    warm: &'a Client,
    cold: &'a ColdTier,
    coverage: &'a PartitionCoverage,
    now: Timestamp,
}

impl Repair<'_> {
    async fn run(&self, summary: &mut Summary) -> anyhow::Result<()> {
        let snapshot = self.cold.table_snapshot(Table::Events).await?;
        let candidates = snapshot
            .files()
            .filter(|file| plan::is_whole_in_warm(file, self.coverage));
        let candidates: Vec<ColdFile> = candidates.cloned().collect();
        let cold = self.cold.clone();
        let damaged: Vec<ColdFile> = stream::iter(candidates)
            .map(move |file| if_damaged(cold.clone(), file))
            .buffer_unordered(MAX_CONCURRENT_CHECKS)
            .try_filter_map(|damaged| futures::future::ready(Ok(damaged)))
            .try_collect()
            .await?;
        for file in &damaged {
            match self.restore(file).await {
                Ok(()) => {
                    let path = &file.path;
                    tracing::warn!(path, "object was missing or cut, put again from warm");
                    summary.restored += 1;
                }
                Err(error) if is_transient(&error) => return Err(error),
                Err(error) => summary.record_error(&format!("put {} again", file.path), &error),
            }
        }
        Ok(())
    }

    /// Puts the object of `file` again. If its bytes are others now, because another version wrote it, the file
    /// is replaced by one with the same rows.
    async fn restore(&self, file: &ColdFile) -> anyhow::Result<()> {
        let own = file.provenance.as_ref().context("it has no provenance")?;
        let staged = self.cold.stage(self.pending(file, own).await?).await?;
        if staged.file().path == file.path {
            return Ok(());
        }
        let change = Change {
            adds: vec![staged],
            removes: vec![file.clone()],
            only_rearranged: true,
            info: Map::from_iter([("rewrite".to_owned(), json!("restore"))]),
            ..Change::default()
        };
        self.cold.commit(Table::Events, &change, self.now).await?;
        Ok(())
    }

    /// The rows of `file` as warm has them.
    async fn pending(&self, file: &ColdFile, own: &Provenance) -> anyhow::Result<PendingFile> {
        let ranges = own.ranges.iter().map(|(_, range)| *range).collect();
        let mut scan = Scan::new(remote::Table::Events, self.coverage.partition, ranges);
        scan.class = own.class;
        scan.filter.tenant.clone_from(&file.tenant);
        scan.removals = Some(self.coverage.removals);
        let mut batches = self.warm.scan(&scan).await?;
        let day = file.dt.as_ref().context("it has no day")?;
        let mut by_day = RowsByDay::new(day.of);
        while let Some(batch) = batches.try_next().await? {
            by_day.push(&batch)?;
        }
        let of_day = by_day
            .finish()?
            .into_iter()
            .filter(|((_, own), _)| own == day)
            .map(|(_, day)| day.rows);
        let of_day: Vec<_> = of_day.collect();
        let rows = concat_batches(&Table::Events.schema(), &of_day)?;
        ensure!(
            rows.num_rows() as u64 == file.rows,
            "warm has {} of its rows, its log entry says {}",
            rows.num_rows(),
            file.rows
        );
        Ok(PendingFile {
            table: Table::Events,
            tenant: file.tenant.as_deref().map(TenantId::new).transpose()?,
            dt: file.dt.clone(),
            rows,
            class: own.class,
            ranges: own.ranges.clone(),
            sampled: None,
            received_max: own.received_max,
        })
    }
}

async fn if_damaged(cold: ColdTier, file: ColdFile) -> anyhow::Result<Option<ColdFile>> {
    match cold.check_object(&file).await {
        Ok(()) => Ok(None),
        Err(error) if error.is_damage() => Ok(Some(file)),
        Err(error) => Err(error.into()),
    }
}
