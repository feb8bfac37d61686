//! Archives one range from warm to cold: verified files, one commit per table, rollups first.

use anyhow::{Context as _, ensure};
use arrow::{array::RecordBatch, compute::concat_batches};
use cold_tier::{Change, ColdTier, CommitOutcome, DayOf, PendingFile, StagedFile, Table};
use event::{PartitionId, RangeSet, SeqRange, Timestamp};
use futures::TryStreamExt as _;
use retention::{Class, RuleSet};
use serde_json::{Map, Value, json};
use warm_tier::remote::{self, Client, PartitionCoverage, Scan};

use crate::{
    group::{DayRows, RowsByDay, TenantDay},
    plan,
};

/// The totals of one archived range.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ArchivedTotals {
    pub(crate) events: u64,
    /// Events of classes that are not kept in cold.
    pub(crate) not_archived: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Archives ranges of one partition, by one reading of its coverage.
pub(crate) struct PartitionArchiver<'a> {
    pub(crate) warm: &'a Client,
    pub(crate) cold: &'a ColdTier,
    pub(crate) coverage: &'a PartitionCoverage,
    /// The rules in force, and their hash.
    pub(crate) rules: &'a RuleSet,
    pub(crate) policy: &'a str,
    /// The most bytes of rows in memory, and so in one file.
    pub(crate) file_memory: u64,
    /// The parts of the range that no tier has.
    pub(crate) lost: &'a RangeSet,
    pub(crate) now: Timestamp,
}

impl PartitionArchiver<'_> {
    /// Archives `range`. `None` when another run has committed it or the table has changed: plan
    /// again.
    pub(crate) async fn archive(&self, range: SeqRange) -> anyhow::Result<Option<ArchivedTotals>> {
        for (table, warm_table) in [
            (Table::HourlyStats, remote::Table::HourlyStats),
            (
                Table::ConversationSummary,
                remote::Table::ConversationSummary,
            ),
        ] {
            let adds = self.stage_rollup(table, warm_table, range).await;
            let adds = adds.with_context(|| format!("copy {} of {range}", table.name()))?;
            let outcome = self.commit(table, adds, range, Map::new()).await?;
            if outcome == CommitOutcome::Conflict {
                return Ok(None);
            }
        }
        let (adds, events) = self.stage_events(range).await.context("copy events")?;
        let totals = ArchivedTotals {
            files: adds.len() as u64,
            bytes: adds.iter().map(|file| file.file().bytes).sum(),
            ..events
        };
        let info = Map::from_iter([
            ("policy".to_owned(), json!(self.policy)),
            (
                "rows_in".to_owned(),
                json!(totals.events + totals.not_archived),
            ),
            ("rows_kept".to_owned(), json!(totals.events)),
            ("rows_dropped".to_owned(), json!(totals.not_archived)),
        ]);
        let outcome = self.commit(Table::Events, adds, range, info).await?;
        Ok(matches!(outcome, CommitOutcome::Committed(_)).then_some(totals))
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
            lost: self.lost.ranges().to_vec(),
            info,
            ..Change::default()
        };
        let outcome = self.cold.commit(table, &change, self.now).await;
        outcome.with_context(|| format!("commit {range} to {}", table.name()))
    }

    async fn stage_rollup(
        &self,
        table: Table,
        warm_table: remote::Table,
        range: SeqRange,
    ) -> anyhow::Result<Vec<StagedFile>> {
        if self.in_warm(range).is_none() {
            return Ok(Vec::new());
        }
        let mut batches = self.warm.scan(&self.scan(warm_table, range)).await?;
        let (mut staged, mut rows, mut memory) = (Vec::new(), Vec::new(), 0);
        while let Some(batch) = batches.try_next().await? {
            memory += segment::memory_bytes(&batch);
            rows.push(segment::conform(&batch, &table.schema())?);
            if memory >= self.file_memory {
                let full = std::mem::take(&mut rows);
                staged.extend(self.stage_rollup_file(table, range, &full).await?);
                memory = 0;
            }
        }
        staged.extend(self.stage_rollup_file(table, range, &rows).await?);
        Ok(staged)
    }

    /// Stages a file with rows of a rollup of `range`; `None` when there are none.
    async fn stage_rollup_file(
        &self,
        table: Table,
        range: SeqRange,
        batches: &[RecordBatch],
    ) -> anyhow::Result<Option<StagedFile>> {
        let rows = concat_batches(&table.schema(), batches)?;
        if rows.num_rows() == 0 {
            return Ok(None);
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
        Ok(Some(self.cold.stage(pending).await?))
    }

    async fn stage_events(
        &self,
        range: SeqRange,
    ) -> anyhow::Result<(Vec<StagedFile>, ArchivedTotals)> {
        let (mut staged, mut totals) = (Vec::new(), ArchivedTotals::default());
        for class in plan::classes(self.coverage, range) {
            if !self.rules.archives(class) {
                totals.not_archived += self.count_rows(class, range).await?;
                continue;
            }
            let (files, rows) = self.stage_class(class, range).await?;
            staged.extend(files);
            totals.events += rows;
        }
        Ok((staged, totals))
    }

    /// Stages every row of `class` in `range`, and compares their number with the coverage. Returns the
    /// files and the number. Rows that take too much memory are staged in parts, each a range of its own.
    async fn stage_class(
        &self,
        class: Class,
        range: SeqRange,
    ) -> anyhow::Result<(Vec<StagedFile>, u64)> {
        let (mut staged, mut row_count) = (Vec::new(), 0);
        let Some(range) = self.in_warm(range) else {
            return Ok((staged, row_count));
        };
        let mut parts = plan::parts(self.coverage, class, range, self.file_memory);
        parts.reverse();
        while let Some(part) = parts.pop() {
            let halves = plan::halves(part);
            let limit = halves.map_or(u64::MAX, |_| self.file_memory);
            let Some(rows_by_day) = self.read_rows(class, part, limit).await? else {
                parts.extend(halves.into_iter().flatten().rev());
                continue;
            };
            row_count += rows_by_day.row_count;
            let days = tokio::task::spawn_blocking(|| rows_by_day.finish()).await??;
            for (day, rows) in days {
                let pending = self.pending(class, part, day, rows);
                staged.push(self.cold.stage(pending).await?);
            }
        }
        if let Some(expected) = plan::expected_rows(self.coverage, class, range) {
            ensure!(
                row_count == expected,
                "warm answered {row_count} rows of {class} in {range}, it has {expected}"
            );
        }
        Ok((staged, row_count))
    }

    /// Reads and checks every row of `class` in `range`; `None` when they take more than `limit` bytes.
    async fn read_rows(
        &self,
        class: Class,
        range: SeqRange,
        limit: u64,
    ) -> anyhow::Result<Option<RowsByDay>> {
        let mut scan = self.scan(remote::Table::Events, range);
        scan.class = Some(class);
        let mut batches = self.warm.scan(&scan).await?;
        let mut rows_by_day = RowsByDay::new(DayOf::ReceivedAt);
        while let Some(batch) = batches.try_next().await? {
            rows_by_day = tokio::task::spawn_blocking(move || {
                rows_by_day.push(&batch)?;
                segment::Result::Ok(rows_by_day)
            })
            .await??;
            if rows_by_day.memory_bytes > limit {
                return Ok(None);
            }
        }
        Ok(Some(rows_by_day))
    }

    async fn count_rows(&self, class: Class, range: SeqRange) -> anyhow::Result<u64> {
        if let Some(rows) = plan::expected_rows(self.coverage, class, range) {
            return Ok(rows);
        }
        let mut scan = self.scan(remote::Table::Events, range);
        scan.class = Some(class);
        scan.columns = Some(vec!["seq".to_owned()]);
        let batches = self.warm.collect(&scan).await?;
        Ok(batches.iter().map(|batch| batch.num_rows() as u64).sum())
    }

    fn pending(&self, class: Class, range: SeqRange, day: TenantDay, rows: DayRows) -> PendingFile {
        let (tenant, dt) = day;
        PendingFile {
            table: Table::Events,
            tenant: Some(tenant),
            dt: Some(dt),
            rows: rows.rows,
            class: Some(class),
            ranges: vec![(self.partition(), range)],
            sampled: None,
            received_max: rows.received_max,
        }
    }

    fn scan(&self, table: remote::Table, range: SeqRange) -> Scan {
        let in_warm = self.in_warm(range).unwrap_or(range);
        let mut scan = Scan::new(table, self.partition(), vec![in_warm]);
        scan.removals = Some(self.coverage.removals);
        scan
    }

    /// The part of `range` that warm can be asked for: warm may begin behind a lost range.
    fn in_warm(&self, range: SeqRange) -> Option<SeqRange> {
        self.coverage.sealed_range()?.intersect(&range)
    }

    fn partition(&self) -> PartitionId {
        self.coverage.partition
    }

    fn received_max(&self, range: SeqRange) -> Timestamp {
        let slices = self.coverage.slices.iter();
        let overlapping = slices.filter(|slice| slice.range().intersect(&range).is_some());
        overlapping
            .filter_map(|slice| slice.received_max)
            .max()
            .unwrap_or_default()
    }
}
