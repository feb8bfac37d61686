//! One partition's plan being carried out.

use std::{collections::HashMap, sync::Arc};

use arrow::record_batch::RecordBatch;
use cold_tier::{ColdScan, ColdSnapshot};
use event::{PartitionId, RangeSet, Seq, SeqRange, StoredEvent};
use futures::TryStreamExt as _;
use retention::Class;
use warm_tier::{
    remote::{PartitionCoverage, Scan},
    sql::Table,
};

use super::{Request, Scanned};
use crate::{
    cold::committed,
    dedup_wait::DedupState,
    error::{Problem, Result},
    merge::{Order, merge},
    plan::{Known, Plan, Prefer, Source, plan},
    read::Missing,
    retry::{ReadError, RetryState},
    rows::{Failed, frame_rows, warm_failed},
    sources::{Sources, log_range, warm_of},
};

/// Packs of one partition that are not sealed yet.
const MAX_HOT_BYTES: usize = 512 << 20;

pub(super) struct Job<'a> {
    pub(super) sources: &'a Sources,
    pub(super) request: &'a Request,
    pub(super) partition: PartitionId,
    pub(super) coverage: Option<PartitionCoverage>,
    pub(super) snapshot: Option<Arc<ColdSnapshot>>,
    known: Known,
    /// The last sequence that is known to exist.
    last: Option<Seq>,
    log_answers: bool,
    dedup: DedupState,
    pub(super) out: Scanned,
}

impl<'a> Job<'a> {
    /// Asks the log, hot and warm how far they are. What is not sealed by now is waited for to be
    /// checked for duplicates, so that none is counted twice.
    pub(super) async fn start(
        sources: &'a Sources,
        partition: PartitionId,
        request: &'a Request,
        retry: &RetryState,
    ) -> Self {
        let without = retry.excluded;
        let warm = async |fresh| {
            let coverage = sources.warm_partition(partition, fresh).await;
            coverage.filter(|_| !without.warm)
        };
        let cursor = async || {
            let cursor = sources.hot.cursor(partition).await.ok().flatten();
            cursor.filter(|_| !without.hot)
        };
        let (coverage, log) = tokio::join!(
            warm(retry.fresh()),
            sources.log_state(partition, without.log)
        );
        let newest = match log {
            Some((_, last)) => Some(last),
            None => cursor().await.map(|hot| hot.last),
        };
        let sealed = coverage.as_ref().map_or(0, |coverage| coverage.sealed);
        let dedup = match newest {
            Some(newest) if newest > sealed => {
                sources.wait_for_dedup(partition, sealed, newest).await
            }
            _ => DedupState::default(),
        };
        // Sealed meanwhile, perhaps.
        let (hot, coverage) = tokio::join!(cursor(), warm(false));
        let known = Known {
            hot: hot
                .and_then(|hot| SeqRange::new(hot.floor, hot.last))
                .and_then(|hot| hot.intersect(&dedup.of_hot(sealed)?)),
            log: log
                .and_then(|(first, last)| log_range(first, last))
                .and_then(|log| log.intersect(&dedup.of_log()?)),
            warm: coverage.as_ref().map(warm_of),
            cold: None,
        };
        Self {
            sources,
            request,
            partition,
            // What came since is for the next answer.
            last: newest.max(coverage.as_ref().map(|coverage| coverage.sealed)),
            log_answers: log.is_some(),
            coverage,
            snapshot: None,
            known,
            dedup,
            out: Scanned::default(),
        }
    }

    pub(super) async fn run(mut self, retry: &RetryState) -> Result<Scanned, ReadError> {
        let need = self.needs_cold_up_to();
        if (need > 0 || self.last.is_none()) && !retry.excluded.cold {
            self.snapshot = self
                .sources
                .cold
                .snapshot(self.partition, need, retry.fresh())
                .await;
            let snapshot = self.snapshot.as_deref();
            self.known.cold = snapshot.map(|snapshot| committed(snapshot, self.partition));
        }
        let Some(last) = self.last.max(self.known.cold) else {
            let detail = "neither the log nor any tier answers now";
            return Err(Problem::unavailable("nothing_readable", detail).into());
        };
        let planned = SeqRange::new(1, last).map(|all| plan(all, &self.known, Prefer::Columns));
        let planned = planned.unwrap_or_default();
        if !retry.fresh() && !planned.gaps.is_empty() {
            return Err(ReadError::Failed(Source::Warm, Failed::Stale));
        }
        let from = (!self.log_answers).then_some(last + 1);
        self.carry_out(planned, from).await
    }

    /// The last sequence that only the cold tier can have; 0 when there is none.
    fn needs_cold_up_to(&self) -> Seq {
        let Some(wanted) = self.last.and_then(|last| SeqRange::new(1, last)) else {
            return 0;
        };
        let gaps = plan(wanted, &self.known, Prefer::Columns).gaps;
        let gone = self.known.warm.iter().flat_map(|warm| warm.gone.ranges());
        let last = gaps.ranges().iter().chain(gone).map(|range| range.hi);
        last.max().unwrap_or(0)
    }

    async fn carry_out(mut self, plan: Plan, from: Option<Seq>) -> Result<Scanned, ReadError> {
        let mut missing = Missing {
            ranges: plan.gaps.clone(),
            from,
        };
        match self.request.table {
            Table::Events => self.events(&plan).await?,
            Table::HourlyStats | Table::ConversationSummary => {
                missing.ranges.extend(self.rollups(&plan).await?);
            }
        }
        if !missing.is_empty() {
            self.out.missing.push((self.partition, missing));
        }
        Ok(self.out)
    }

    /// The rows of memory and of the log, once each: of both only what the compactor has checked
    /// is in the plan.
    pub(super) async fn unsealed(
        &mut self,
        hot: &RangeSet,
        log: &RangeSet,
    ) -> Result<Vec<StoredEvent>, ReadError> {
        let mut rows = Vec::new();
        if let Some((first, last)) = hot.ranges().first().zip(hot.ranges().last()) {
            let read = self
                .sources
                .hot
                .read_all(self.partition, first.lo - 1, MAX_HOT_BYTES)
                .await;
            let failed = |failed| ReadError::Failed(Source::Hot, failed);
            let scan = read.map_err(|error| failed(Failed::Down(error.into())))?;
            let scan = scan.ok_or_else(|| failed(Failed::Stale))?;
            // Trimmed since the plan: what is gone is sealed by now.
            if scan.floor > first.lo || scan.last < last.hi || !scan.raised.is_empty() {
                return Err(failed(Failed::Stale));
            }
            // It has lost its memory since.
            if self.dedup.checked(scan.checked) < last.hi {
                return Err(failed(Failed::Stale));
            }
            let own = scan
                .rows
                .into_iter()
                .filter(|row| hot.contains(row.position.seq));
            rows.extend(own);
            self.gave(Source::Hot, rows.len());
        }
        for range in log.ranges() {
            let before = rows.len();
            let take = |message| {
                rows.extend(frame_rows(&message, None)?);
                Ok(())
            };
            let read = self
                .sources
                .log_messages(self.partition, *range, take)
                .await;
            read.map_err(|failed| ReadError::Failed(Source::Log, failed))?;
            self.gave(Source::Log, rows.len() - before);
        }
        rows.retain(|row| {
            row.event.tenant == self.request.tenant && !self.dedup.is_duplicate(&row.position)
        });
        Ok(merge(rows, Seq::MAX, Order::Asc))
    }

    fn gave(&mut self, source: Source, rows: usize) {
        self.sources.count(source, rows);
        if rows > 0 {
            self.out.sources.insert(source);
        }
    }

    /// Streams `scan` from the warm tier into the answer.
    pub(super) async fn warm(&mut self, mut scan: Scan) -> Result<(), ReadError> {
        let failed = |error| ReadError::Failed(Source::Warm, warm_failed(error));
        scan.removals = self.coverage.as_ref().map(|coverage| coverage.removals);
        let mut batches = self.sources.warm.client.scan(&scan).await.map_err(failed)?;
        while let Some(batch) = batches.try_next().await.map_err(failed)? {
            self.take(Source::Warm, &batch)?;
        }
        Ok(())
    }

    pub(super) async fn cold(
        &mut self,
        table: cold_tier::Table,
        scan: &ColdScan,
    ) -> Result<(), ReadError> {
        let failed = |error| ReadError::Failed(Source::Cold, Failed::Down(error));
        let Some(snapshot) = self.snapshot.clone() else {
            return Ok(());
        };
        let batches = self
            .sources
            .cold
            .read(&snapshot, table, scan)
            .await
            .map_err(failed)?;
        batches
            .iter()
            .try_for_each(|batch| self.take(Source::Cold, batch))
    }

    /// Counts `batch`, and adds it in the columns of the answer.
    pub(super) fn take(&mut self, source: Source, batch: &RecordBatch) -> Result<(), ReadError> {
        self.request.budget.take(batch)?;
        self.gave(source, batch.num_rows());
        let batch = segment::conform(batch, &self.request.schema);
        let batch = batch.map_err(|error| Problem::Internal(error.into()))?;
        if batch.num_rows() > 0 {
            self.out.batches.push(batch);
        }
        Ok(())
    }

    /// Rows of these classes and ranges, among those that warm is asked for, are warm's: cold must
    /// not give them too.
    pub(super) fn held_by_warm(&self, asked: &RangeSet) -> HashMap<(PartitionId, Class), RangeSet> {
        let slices = self.coverage.iter().flat_map(|coverage| &coverage.slices);
        let mut held: HashMap<_, RangeSet> = HashMap::new();
        for slice in slices {
            let own = held.entry((self.partition, slice.class)).or_default();
            own.extend(asked.intersect(slice.range()));
        }
        held
    }
}
