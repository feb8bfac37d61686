//! One range from warm to cold: verified files, rollups first, one commit per table.

use anyhow::{Context as _, ensure};
use arrow::compute::concat_batches;
use cold_tier::{Change, ColdTier, CommitOutcome, PendingFile, StagedFile, Table};
use event::{PartitionId, SeqRange, Timestamp};
use futures::TryStreamExt as _;
use retention::Class;
use serde_json::{Map, Value, json};
use warm_tier::remote::{self, Client, PartitionCoverage, Scan};

use crate::{
    group::{Day, Group, Groups},
    plan,
};

/// What one commit moved.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    pub(crate) events: u64,
    pub(crate) not_archived: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// What is needed to archive one partition.
pub(crate) struct Source<'a> {
    pub(crate) warm: &'a Client,
    pub(crate) cold: &'a ColdTier,
    pub(crate) coverage: &'a PartitionCoverage,
    pub(crate) policy: &'a str,
    pub(crate) now: Timestamp,
}

impl Source<'_> {
    /// `None` when somebody else was faster, or the warm tier has changed: plan again.
    pub(crate) async fn archive(&self, range: SeqRange) -> anyhow::Result<Option<Moved>> {
        for (table, scanned) in [
            (Table::HourlyStats, remote::Table::HourlyStats),
            (
                Table::ConversationSummary,
                remote::Table::ConversationSummary,
            ),
        ] {
            let adds = self.stage_rollup(table, scanned, range).await;
            let adds = adds.with_context(|| format!("copy {} of {range}", table.name()))?;
            let outcome = self.commit(table, adds, range, Map::new()).await?;
            if outcome == CommitOutcome::Conflict {
                return Ok(None);
            }
        }
        let (adds, counted) = self.stage_events(range).await.context("copy events")?;
        let moved = Moved {
            files: adds.len() as u64,
            bytes: adds.iter().map(|file| file.file().bytes).sum(),
            ..counted
        };
        let info = Map::from_iter([
            ("policy".to_owned(), json!(self.policy)),
            (
                "rows_in".to_owned(),
                json!(moved.events + moved.not_archived),
            ),
            ("rows_kept".to_owned(), json!(moved.events)),
            ("rows_dropped".to_owned(), json!(moved.not_archived)),
        ]);
        let outcome = self.commit(Table::Events, adds, range, info).await?;
        Ok(matches!(outcome, CommitOutcome::Committed(_)).then_some(moved))
    }

    async fn commit(
        &self,
        table: Table,
        adds: Vec<StagedFile>,
        range: SeqRange,
        info: Map<String, Value>,
    ) -> anyhow::Result<CommitOutcome> {
        let change = Change {
            adds,
            range: Some((self.partition(), range)),
            info,
            ..Change::default()
        };
        let outcome = self.cold.commit(table, &change, self.now).await;
        outcome.with_context(|| format!("commit {range} to {}", table.name()))
    }

    async fn stage_rollup(
        &self,
        table: Table,
        scanned: remote::Table,
        range: SeqRange,
    ) -> anyhow::Result<Vec<StagedFile>> {
        let batches = self.warm.collect(&self.scan(scanned, range)).await?;
        let schema = table.schema();
        let batches = batches.iter().map(|batch| segment::conform(batch, &schema));
        let batches = batches.collect::<segment::Result<Vec<_>>>()?;
        let rows = concat_batches(&schema, &batches)?;
        if rows.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let pending = PendingFile {
            table,
            tenant: None,
            dt: None,
            rows,
            class: None,
            ranges: vec![(self.partition(), range)],
            sampled: None,
            received_max: self.received_max(range),
        };
        Ok(vec![self.cold.stage(pending).await?])
    }

    async fn stage_events(&self, range: SeqRange) -> anyhow::Result<(Vec<StagedFile>, Moved)> {
        let (mut staged, mut moved) = (Vec::new(), Moved::default());
        for class in plan::classes(self.coverage, range) {
            if !class.is_archived() {
                moved.not_archived += self.count(class, range).await?;
                continue;
            }
            let groups = self.read(class, range).await?;
            moved.events += groups.rows;
            let files = tokio::task::spawn_blocking(|| groups.finish()).await??;
            for (day, group) in files {
                let pending = self.pending(class, range, day, group);
                staged.push(self.cold.stage(pending).await?);
            }
        }
        Ok((staged, moved))
    }

    /// Every row of `class`, checked one by one and counted.
    async fn read(&self, class: Class, range: SeqRange) -> anyhow::Result<Groups> {
        let mut scan = self.scan(remote::Table::Events, range);
        scan.class = Some(class);
        let mut batches = self.warm.scan(&scan).await?;
        let mut groups = Groups::default();
        while let Some(batch) = batches.try_next().await? {
            groups = tokio::task::spawn_blocking(move || {
                groups.push(&batch)?;
                segment::Result::Ok(groups)
            })
            .await??;
        }
        if let Some(expected) = plan::expected_rows(self.coverage, class, range) {
            ensure!(
                groups.rows == expected,
                "warm answered {} rows of {class} in {range}, it has {expected}",
                groups.rows
            );
        }
        Ok(groups)
    }

    async fn count(&self, class: Class, range: SeqRange) -> anyhow::Result<u64> {
        if let Some(rows) = plan::expected_rows(self.coverage, class, range) {
            return Ok(rows);
        }
        let mut scan = self.scan(remote::Table::Events, range);
        scan.class = Some(class);
        scan.columns = Some(vec!["seq".to_owned()]);
        let batches = self.warm.collect(&scan).await?;
        Ok(batches.iter().map(|batch| batch.num_rows() as u64).sum())
    }

    fn pending(&self, class: Class, range: SeqRange, day: Day, group: Group) -> PendingFile {
        let (tenant, dt) = day;
        PendingFile {
            table: Table::Events,
            tenant: Some(tenant),
            dt: Some(dt),
            rows: group.rows,
            class: Some(class),
            ranges: vec![(self.partition(), range)],
            sampled: None,
            received_max: group.received_max,
        }
    }

    fn scan(&self, table: remote::Table, range: SeqRange) -> Scan {
        let mut scan = Scan::new(table, self.partition(), vec![range]);
        scan.removals = Some(self.coverage.removals);
        scan
    }

    fn partition(&self) -> PartitionId {
        self.coverage.partition
    }

    fn received_max(&self, range: SeqRange) -> Timestamp {
        let slices = self.coverage.slices.iter();
        let touching = slices.filter(|slice| slice.range().intersect(&range).is_some());
        touching
            .filter_map(|slice| slice.received_max)
            .max()
            .unwrap_or_default()
    }
}
