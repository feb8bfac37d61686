//! One attempt to scan one partition: its plan, and the rows that it yields.

use std::{collections::HashMap, sync::Arc};

use arrow::record_batch::RecordBatch;
use cold_tier::{ColdItem, ColdScan, ColdSnapshot};
use event::{PartitionId, RangeSet, Seq, SeqRange};
use futures::{StreamExt as _, TryStreamExt as _};
use retention::Class;
use warm_tier::{
    remote::{PartitionCoverage, Scan},
    sql::{SliceRef, Table, remote::PartitionPlan},
};

use super::{ScanRequest, ScanResult, budget::Charge};
use crate::{
    cold,
    error::{QueryError, Result},
    plan::{AvailableRanges, Plan, Prefer, Source, plan},
    read::Missing,
    retry::{ReadError, RetryState},
    rows::{SourceError, warm_error},
    sources::Sources,
    warm::warm_ranges,
};

/// One attempt: the request, the state of the sources that it plans with, and its output.
pub(super) struct PartitionScan<'a> {
    pub(super) sources: &'a Sources,
    pub(super) request: &'a ScanRequest,
    pub(super) partition: PartitionId,
    pub(super) coverage: Option<PartitionCoverage>,
    pub(super) snapshot: Option<Arc<ColdSnapshot>>,
    available: AvailableRanges,
    /// The last sequence that is known to exist.
    last: Option<Seq>,
    log_answered: bool,
    /// Frames that cannot be read: the open dead letters.
    dead_letters: RangeSet,
    /// Whether a file that cannot be read is missing for good, and not replaced since the snapshot.
    is_retry: bool,
    /// Ranges of files of the cold tier that cannot be read.
    unread: RangeSet,
    pub(super) out: ScanResult,
    /// What the output takes.
    pub(super) charge: Charge<'a>,
}

impl<'a> PartitionScan<'a> {
    /// Reads how far the log and warm are, and waits until warm has all of it, checked for duplicates, so that
    /// no event is counted twice.
    pub(super) async fn start(
        sources: &'a Sources,
        partition: PartitionId,
        request: &'a ScanRequest,
        retry: &RetryState,
    ) -> Self {
        let excluded = retry.excluded;
        let warm = async |fresh| {
            let coverage = sources.warm.partition(partition, fresh).await;
            coverage.filter(|_| !excluded.warm)
        };
        let cursor = async || {
            let cursor = sources.hot.cursor(partition).await.ok().flatten();
            cursor.filter(|_| !excluded.hot)
        };
        let (coverage, log, dead_letters) = tokio::join!(
            warm(request.fresh || retry.needs_fresh_state()),
            sources.log_state(partition, excluded.log),
            sources.open_dead_letters(partition),
        );
        let newest = match log {
            Some((_, last)) => Some(last),
            None => cursor().await.map(|hot| hot.last),
        };
        let committed =
            |own: &Option<PartitionCoverage>| own.as_ref().map_or(0, |own| own.committed);
        let coverage = match newest {
            Some(newest) if committed(&coverage) < newest && !excluded.warm => {
                sources.wait_for_commit(partition, newest).await;
                warm(true).await
            }
            _ => coverage,
        };
        let available = AvailableRanges {
            warm: coverage.as_ref().map(warm_ranges),
            ..AvailableRanges::default()
        };
        Self {
            sources,
            request,
            partition,
            // Events appended since are for the next answer.
            last: newest.max(coverage.as_ref().map(|coverage| coverage.committed)),
            log_answered: log.is_some(),
            coverage,
            snapshot: None,
            available,
            dead_letters,
            is_retry: retry.needs_fresh_state(),
            unread: RangeSet::new(),
            out: ScanResult::default(),
            charge: Charge::new(&request.budget, &sources.memory.scans),
        }
    }

    /// Plans and reads.
    ///
    /// # Errors
    ///
    /// [`ReadError::Source`] when a retry can help.
    pub(super) async fn run(mut self, retry: &RetryState) -> Result<ScanResult, ReadError> {
        let need = self.cold_needed_through();
        if (need > 0 || self.last.is_none()) && !retry.excluded.cold {
            self.snapshot = self
                .sources
                .cold
                .snapshot(self.partition, need, retry.needs_fresh_state())
                .await;
            let snapshot = self.snapshot.as_deref();
            self.available.cold =
                snapshot.map(|snapshot| cold::committed(snapshot, self.partition));
        }
        let Some(last) = self.last.max(self.available.cold) else {
            let detail = "neither the log nor any tier answers now";
            return Err(QueryError::unavailable("nothing_readable", detail).into());
        };
        let bound = self.request.through.as_ref();
        let bound = bound.map(|through| through.get(&self.partition).copied().unwrap_or(0));
        let last = bound.map_or(last, |bound| bound.min(last));
        self.out.through.insert(self.partition, last);
        let planned = SeqRange::new(1, last).map(|all| plan(all, &self.available, Prefer::Columns));
        let planned = planned.unwrap_or_default();
        if !retry.needs_fresh_state() && !planned.gaps.is_empty() {
            return Err(ReadError::Source(Source::Warm, SourceError::Stale));
        }
        let open_from = (!self.log_answered && bound.is_none()).then_some(last + 1);
        self.execute(planned, open_from).await
    }

    /// Returns the last sequence that only the cold tier can have; 0 when there is none.
    fn cold_needed_through(&self) -> Seq {
        let Some(wanted) = self.last.and_then(|last| SeqRange::new(1, last)) else {
            return 0;
        };
        let gaps = plan(wanted, &self.available, Prefer::Columns).gaps;
        let warm = self.available.warm.iter();
        let incomplete = warm.flat_map(|warm| warm.incomplete.ranges());
        let ranges = gaps.ranges().iter().chain(incomplete);
        ranges.map(|range| range.hi).max().unwrap_or(0)
    }

    /// Reads the pieces of `plan`; the log's gap without an end begins at `open_from`.
    async fn execute(
        mut self,
        plan: Plan,
        open_from: Option<Seq>,
    ) -> Result<ScanResult, ReadError> {
        let mut missing = Missing {
            ranges: plan.gaps.clone(),
            open_from,
        };
        match self.request.table {
            Table::Events => self.read_events(&plan).await?,
            Table::HourlyStats | Table::ConversationSummary => self.read_rollups(&plan).await?,
        }
        let mut from_cold = plan.ranges_of(Source::Cold);
        from_cold.extend(plan.ranges_of(Source::WarmAndCold));
        if let Some(snapshot) = &self.snapshot {
            let lost = snapshot.events.lost(self.partition);
            missing
                .ranges
                .extend(lost.subtract(&lost.subtract(&from_cold)));
        }
        missing.ranges.extend(std::mem::take(&mut self.unread));
        if let Some(all) = self.last.and_then(|last| SeqRange::new(1, last)) {
            missing.ranges.extend(self.dead_letters.intersect(all));
        }
        if !missing.is_empty() {
            self.out.missing.push((self.partition, missing));
        }
        self.out.memory = Some(self.charge.keep(&self.sources.memory.scans));
        Ok(self.out)
    }

    /// Counts rows in the metrics, and notes `source` as one that contributed.
    pub(super) fn count_rows(&mut self, source: Source, rows: usize) {
        self.sources.count(source, rows);
        if rows > 0 {
            self.out.sources.insert(source);
        }
    }

    /// Leaves `slices`, and what the compactor answers to `scan`, to an executor.
    pub(super) fn leave(&mut self, slices: Vec<SliceRef>, scan: Option<Scan>) {
        if slices.is_empty() && scan.is_none() {
            return;
        }
        let removals = self.coverage.as_ref().map(|coverage| coverage.removals);
        self.out.sources.insert(Source::Warm);
        self.out.in_place.push(PartitionPlan {
            partition: self.partition,
            slices,
            scan: scan.map(|scan| Scan { removals, ..scan }),
        });
    }

    /// Streams `scan` from the warm tier into the output.
    pub(super) async fn read_warm(&mut self, mut scan: Scan) -> Result<(), ReadError> {
        let source_error = |error| ReadError::Source(Source::Warm, warm_error(error));
        scan.removals = self.coverage.as_ref().map(|coverage| coverage.removals);
        let mut batches = self
            .sources
            .warm
            .client
            .scan(&scan)
            .await
            .map_err(source_error)?;
        while let Some(batch) = batches.try_next().await.map_err(source_error)? {
            self.add_batch(Source::Warm, &batch).await?;
        }
        Ok(())
    }

    /// Streams `scan` from the cold tier's snapshot, if there is one, into the output.
    pub(super) async fn read_cold(
        &mut self,
        table: cold_tier::Table,
        scan: ColdScan,
    ) -> Result<(), ReadError> {
        let source_error = |error| ReadError::Source(Source::Cold, SourceError::Unavailable(error));
        let Some(snapshot) = self.snapshot.clone() else {
            return Ok(());
        };
        let items = self.sources.cold.stream(&snapshot, table, scan);
        let mut items = items.map_err(source_error)?;
        while let Some(item) = items.next().await {
            match item.map_err(|error| source_error(error.into()))? {
                ColdItem::Batch(batch) => self.add_batch(Source::Cold, &batch).await?,
                // The file may have been replaced since the snapshot.
                ColdItem::Unread { .. } if !self.is_retry => {
                    return Err(ReadError::Source(Source::Cold, SourceError::Stale));
                }
                ColdItem::Unread { missing, .. } => self.unread.extend(missing),
            }
        }
        Ok(())
    }

    /// Charges `batch` to the budget, counts its rows, and adds them in the columns of the answer.
    async fn add_batch(&mut self, source: Source, batch: &RecordBatch) -> Result<(), ReadError> {
        self.charge.add_batch(batch).await?;
        self.count_rows(source, batch.num_rows());
        let batch = segment::conform(batch, &self.request.schema);
        let batch = batch.map_err(|error| QueryError::Internal(error.into()))?;
        if batch.num_rows() > 0 {
            self.out.batches.push(batch);
        }
        Ok(())
    }

    /// Returns the parts of `ranges` that warm has, by retention class: they are read from warm, so
    /// the scan of cold must leave them out.
    pub(super) fn ranges_in_warm(
        &self,
        ranges: &RangeSet,
    ) -> HashMap<(PartitionId, Class), RangeSet> {
        let slices = self.coverage.iter().flat_map(|coverage| &coverage.slices);
        let mut in_warm: HashMap<_, RangeSet> = HashMap::new();
        for slice in slices {
            let of_class = in_warm.entry((self.partition, slice.class)).or_default();
            of_class.extend(ranges.intersect(slice.range()));
        }
        in_warm
    }
}
