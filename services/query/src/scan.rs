//! All of a tenant, or what a statement needs of it: columns from warm and cold for what is
//! sealed, rows from hot or the log for what is not yet.

mod events;
mod rollups;

pub(crate) use events::judged;

use std::{
    collections::{BTreeSet, HashMap},
    sync::atomic::{AtomicU64, Ordering},
};

use arrow::{array::Array as _, datatypes::SchemaRef, record_batch::RecordBatch};
use cold_tier::ColdScan;
use event::{ConversationId, PartitionId, RangeSet, Seq, SeqRange, StoredEvent, TenantId};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use warm_tier::{
    remote::{PartitionCoverage, Scan},
    sql::{Pushdown, Table},
};

use crate::{
    cold::committed,
    error::{Problem, Result},
    merge::{Order, merge},
    plan::{Known, Plan, Prefer, Source, plan},
    read::Missing,
    rows::{Failed, frame_rows, warm_failed},
    service::Service,
    sources::{Sources, log_range, warm_of},
};

const AT_ONCE: usize = 4;
const PATIENCE: u32 = 3;
/// Packs of one partition that are not sealed yet.
const MAX_HOT_BYTES: usize = 512 << 20;

/// What to read.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) tenant: TenantId,
    pub(crate) table: Table,
    /// The columns of the answer; any part of the table's.
    pub(crate) schema: SchemaRef,
    pub(crate) pushdown: Pushdown,
    pub(crate) budget: Budget,
}

/// Rollups are small; this only keeps a mistake from taking all memory.
const MAX_ROLLUP_BYTES: u64 = 1 << 30;

impl Request {
    /// All of a tenant's rows of a rollup table.
    pub(crate) fn rollup(tenant: TenantId, table: Table) -> Self {
        Self {
            tenant,
            table,
            schema: match table {
                Table::ConversationSummary => segment::conversation_summary_schema(),
                Table::HourlyStats | Table::Events => segment::hourly_stats_schema(),
            },
            pushdown: Pushdown::default(),
            budget: Budget::new(MAX_ROLLUP_BYTES),
        }
    }
}

/// Bytes that may still be read.
#[derive(Debug)]
pub(crate) struct Budget {
    max: u64,
    left: AtomicU64,
}

impl Budget {
    pub(crate) fn new(max: u64) -> Self {
        Self {
            max,
            left: AtomicU64::new(max),
        }
    }

    fn take(&self, batch: &RecordBatch) -> Result<()> {
        let bytes: usize = batch
            .columns()
            .iter()
            .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0))
            .sum();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let less = |left: u64| left.checked_sub(bytes);
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken
            .map(drop)
            .map_err(|_| Problem::scan_too_large(self.max))
    }
}

/// What was there.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) missing: Vec<(PartitionId, Missing)>,
    pub(crate) sources: BTreeSet<Source>,
}

impl Scanned {
    fn add(&mut self, other: Self) {
        self.batches.extend(other.batches);
        self.missing.extend(other.missing);
        self.sources.extend(other.sources);
    }
}

impl Service {
    /// Every partition that may have what is asked for.
    pub(crate) async fn scan(&self, request: &Request) -> Result<Scanned> {
        let mut partitions: BTreeSet<PartitionId> = self.partitions.all().collect();
        if let Some(conversations) = &request.pushdown.conversations {
            let ids = conversations
                .iter()
                .filter_map(|id| ConversationId::new(id).ok());
            let of = |id| self.partitions.partition_of(&request.tenant, &id);
            partitions = ids.map(of).collect();
        }
        let mut parts = stream::iter(partitions)
            .map(|partition| self.sources.scan_partition(partition, request))
            .buffer_unordered(AT_ONCE);
        let mut all = Scanned::default();
        while let Some(part) = parts.try_next().await? {
            all.add(part);
        }
        Ok(all)
    }
}

/// Why a plan gave nothing.
pub(super) enum Stop {
    Problem(Problem),
    Failed(Source, Failed),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Which sources to do without.
#[derive(Clone, Copy, Debug, Default)]
struct Without {
    hot: bool,
    log: bool,
    warm: bool,
    cold: bool,
}

/// One partition's plan being carried out.
struct Job<'a> {
    sources: &'a Sources,
    request: &'a Request,
    partition: PartitionId,
    coverage: Option<PartitionCoverage>,
    snapshot: Option<std::sync::Arc<cold_tier::ColdSnapshot>>,
    out: Scanned,
}

impl Sources {
    async fn scan_partition(&self, partition: PartitionId, request: &Request) -> Result<Scanned> {
        let mut without = Without::default();
        for attempt in 0.. {
            let tried = self
                .try_scan(partition, request, attempt > 0, without)
                .await;
            let (source, error) = match tried {
                Ok(scanned) => return Ok(scanned),
                Err(Stop::Problem(problem)) => return Err(problem),
                Err(Stop::Failed(source, error)) => (source, error),
            };
            if attempt + 1 >= PATIENCE {
                if let Failed::Down(error) = error {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        source = source.tier(),
                        "left out"
                    );
                }
                match source {
                    Source::Hot => without.hot = true,
                    Source::Log => without.log = true,
                    Source::Warm => without.warm = true,
                    Source::WarmAndCold | Source::Cold => without.cold = true,
                }
            }
        }
        unreachable!("every source is left out sooner or later")
    }

    async fn try_scan(
        &self,
        partition: PartitionId,
        request: &Request,
        fresh: bool,
        without: Without,
    ) -> Result<Scanned, Stop> {
        let hot = async {
            let cursor = self.hot.cursor(partition).await.ok().flatten();
            cursor.filter(|_| !without.hot)
        };
        let (hot, log) = tokio::join!(hot, self.log_state(partition, without.log));
        let coverage = match without.warm {
            true => None,
            false => self.warm_partition(partition, fresh).await,
        };
        let mut known = Known {
            hot: hot.and_then(|hot| SeqRange::new(hot.floor, hot.last)),
            log: log.and_then(|(first, last)| log_range(first, last)),
            warm: coverage.as_ref().map(warm_of),
            cold: None,
        };
        let sealed = coverage.as_ref().map(|coverage| coverage.sealed);
        let last = log
            .map(|(_, last)| last)
            .max(hot.map(|hot| hot.last))
            .max(sealed);
        let wanted = last.and_then(|last| SeqRange::new(1, last));
        let mut job = Job {
            sources: self,
            request,
            partition,
            coverage,
            snapshot: None,
            out: Scanned::default(),
        };
        let need = wanted.map_or(0, |wanted| job.needs_cold_up_to(wanted, &known));
        if (need > 0 || last.is_none()) && !without.cold {
            job.snapshot = self.cold.snapshot(partition, need).await;
            let snapshot = job.snapshot.as_deref();
            known.cold = snapshot.map(|snapshot| committed(snapshot, partition));
        }
        let Some(last) = last.max(known.cold) else {
            let detail = "neither the log nor any tier answers now";
            return Err(Problem::unavailable("nothing_readable", detail).into());
        };
        let from = log.is_none().then_some(last + 1);
        let planned = SeqRange::new(1, last).map(|all| plan(all, &known, Prefer::Columns));
        let planned = planned.unwrap_or_default();
        if !fresh && !planned.holes.is_empty() {
            return Err(Stop::Failed(Source::Warm, Failed::Stale));
        }
        job.carry_out(planned, from).await
    }
}

impl Job<'_> {
    /// The last sequence that only the cold tier can have; 0 when there is none.
    fn needs_cold_up_to(&self, wanted: SeqRange, known: &Known) -> Seq {
        let holes = plan(wanted, known, Prefer::Columns).holes;
        let dropped = self.coverage.as_ref().map(|coverage| &coverage.dropped);
        let dropped = dropped.into_iter().flatten();
        let last = holes.ranges().iter().chain(dropped).map(|range| range.hi);
        last.max().unwrap_or(0)
    }

    async fn carry_out(mut self, plan: Plan, from: Option<Seq>) -> Result<Scanned, Stop> {
        let mut missing = Missing {
            ranges: plan.holes.clone(),
            from,
        };
        match self.request.table {
            Table::Events => self.events(&plan).await?,
            Table::HourlyStats | Table::ConversationSummary => {
                let uncovered = self.rollups(&plan).await?;
                uncovered
                    .ranges()
                    .iter()
                    .for_each(|range| missing.ranges.insert(*range));
            }
        }
        if !missing.is_empty() {
            self.out.missing.push((self.partition, missing));
        }
        Ok(self.out)
    }

    /// The rows of `ranges` that are only in memory and in the log, once each.
    async fn unsealed(&mut self, hot: &RangeSet, log: &RangeSet) -> Result<Vec<StoredEvent>, Stop> {
        let mut rows = Vec::new();
        let mut checked = self.coverage.as_ref().map_or(0, |coverage| coverage.sealed);
        if let Some(first) = hot.ranges().first() {
            let read = self
                .sources
                .hot
                .read_all(self.partition, first.lo - 1, MAX_HOT_BYTES);
            let failed =
                |error: hot_tier::Error| Stop::Failed(Source::Hot, Failed::Down(error.into()));
            let stale = || Stop::Failed(Source::Hot, Failed::Stale);
            let scan = read.await.map_err(failed)?.ok_or_else(stale)?;
            let last = hot.ranges().last().map_or(0, |range| range.hi);
            // Trimmed since the plan: what is gone is sealed by now.
            if scan.floor > first.lo || scan.last < last || !scan.raised.is_empty() {
                return Err(stale());
            }
            checked = scan.checked;
            rows.extend(
                scan.rows
                    .into_iter()
                    .filter(|row| hot.contains(row.position.seq)),
            );
            self.sources.count(Source::Hot, rows.len());
            self.out.sources.insert(Source::Hot);
        }
        for range in log.ranges() {
            let take = |message| {
                rows.extend(frame_rows(&message, None)?);
                Ok(())
            };
            let read = self
                .sources
                .log_messages(self.partition, *range, take)
                .await;
            read.map_err(|failed| Stop::Failed(Source::Log, failed))?;
            self.out.sources.insert(Source::Log);
        }
        rows.retain(|row| row.event.tenant == self.request.tenant);
        Ok(merge(rows, checked, Order::Asc))
    }

    /// Streams `scan` from the warm tier into the answer.
    async fn warm(&mut self, mut scan: Scan) -> Result<(), Stop> {
        let failed = |error| Stop::Failed(Source::Warm, warm_failed(error));
        scan.removals = self.coverage.as_ref().map(|coverage| coverage.removals);
        let mut batches = self.sources.warm.client.scan(&scan).await.map_err(failed)?;
        while let Some(batch) = batches.try_next().await.map_err(failed)? {
            self.take(Source::Warm, &batch)?;
        }
        Ok(())
    }

    async fn cold(&mut self, table: cold_tier::Table, scan: &ColdScan) -> Result<(), Stop> {
        let failed = |error| Stop::Failed(Source::Cold, Failed::Down(error));
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
    fn take(&mut self, source: Source, batch: &RecordBatch) -> Result<(), Stop> {
        self.request.budget.take(batch)?;
        self.sources.count(source, batch.num_rows());
        self.out.sources.insert(source);
        let batch = segment::conform(batch, &self.request.schema);
        let batch = batch.map_err(|error| Problem::Internal(error.into()))?;
        if batch.num_rows() > 0 {
            self.out.batches.push(batch);
        }
        Ok(())
    }

    /// Rows of these classes and ranges are warm's: cold must not give them too.
    fn held_by_warm(&self) -> HashMap<(PartitionId, retention::Class), RangeSet> {
        let slices = self.coverage.iter().flat_map(|coverage| &coverage.slices);
        let mut held: HashMap<_, RangeSet> = HashMap::new();
        for slice in slices {
            let key = (self.partition, slice.class);
            held.entry(key).or_default().insert(slice.range());
        }
        held
    }
}
