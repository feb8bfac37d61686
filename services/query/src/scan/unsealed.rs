//! What is not sealed yet: rows of the hot tier and of the log, turned into the columns of the answer while
//! they are read.

use arrow::record_batch::RecordBatch;
use event::{RangeSet, StoredEvent, TenantId};
use futures::TryStreamExt as _;
use hot_tier::{ScanPlan, ScanStep};
use warm_tier::sql::Pushdown;

use super::PartitionScan;
use crate::{
    error::QueryError,
    live_rows::{ConversationSummaries, HourlyStats},
    log_rows::LogRows,
    memory::{HOT_READ_BYTES, MEMORY_WAIT},
    plan::Source,
    retry::ReadError,
    rows::SourceError,
};

/// Content and metadata of the rows that are encoded as one batch, in bytes; bounds memory.
const BATCH_CONTENT_BYTES: usize = 1 << 20;
/// Most rows of one batch; bounds memory.
const BATCH_ROWS: usize = 8192;

/// The rows that were read, as the table of the scan has them.
pub(super) enum UnsealedRows {
    /// Rows that wait to be a batch, and the bytes of their long values.
    Events(Vec<StoredEvent>, usize),
    Hourly(HourlyStats),
    Summaries(ConversationSummaries),
}

impl UnsealedRows {
    pub(super) fn events() -> Self {
        Self::Events(Vec::new(), 0)
    }

    pub(super) fn hourly(tenant: &TenantId) -> Self {
        Self::Hourly(HourlyStats::new(tenant.clone()))
    }

    pub(super) fn summaries(tenant: &TenantId) -> Self {
        Self::Summaries(ConversationSummaries::new(tenant.clone()))
    }

    /// Adds `rows`. Returns the bytes that are needed for them beyond their batch.
    fn add(&mut self, rows: Vec<StoredEvent>, pushdown: &Pushdown) -> usize {
        match self {
            Self::Events(waiting, bytes) => {
                let own = rows.into_iter().filter(|row| matches(pushdown, row));
                for row in own {
                    *bytes += row.event.content.len() + row.event.metadata.len();
                    waiting.push(row);
                }
                0
            }
            Self::Hourly(groups) => rows.iter().map(|row| groups.add(row)).sum(),
            Self::Summaries(groups) => rows.iter().map(|row| groups.add(row)).sum(),
        }
    }

    /// Takes the rows that are enough for a batch.
    fn full_batch(&mut self) -> Option<RecordBatch> {
        let Self::Events(waiting, bytes) = self else {
            return None;
        };
        if *bytes < BATCH_CONTENT_BYTES && waiting.len() < BATCH_ROWS {
            return None;
        }
        *bytes = 0;
        Some(segment::encode(&std::mem::take(waiting)))
    }
}

impl PartitionScan<'_> {
    /// Reads the rows of the hot tier and of the log, one per event: the plan has only ranges that are
    /// checked for duplicates.
    pub(super) async fn read_unsealed(
        &mut self,
        hot: &RangeSet,
        log: &RangeSet,
        to: &mut UnsealedRows,
    ) -> Result<(), ReadError> {
        self.read_hot(hot, to).await?;
        let mut unreadable = RangeSet::new();
        for range in log.ranges() {
            let log_error = |error| ReadError::Source(Source::Log, error);
            let messages = self.sources.log_messages(self.partition, *range).await;
            let mut messages = messages.map_err(log_error)?;
            while let Some(item) = messages.try_next().await.map_err(log_error)? {
                let mut read = LogRows::default();
                read.add(item, None);
                unreadable.extend(read.unreadable);
                self.add_unsealed(Source::Log, read.rows, to).await?;
            }
        }
        let unreadable = self.sources.undecided(self.partition, unreadable).await;
        self.dead_letters.extend(unreadable);
        if let UnsealedRows::Events(rows, _) = to
            && !rows.is_empty()
        {
            let batch = segment::encode(&std::mem::take(rows));
            self.push_batch(batch).await?;
        }
        Ok(())
    }

    /// Reads what the hot tier has of `ranges`.
    async fn read_hot(
        &mut self,
        ranges: &RangeSet,
        to: &mut UnsealedRows,
    ) -> Result<(), ReadError> {
        let hot_error = |error| ReadError::Source(Source::Hot, error);
        for range in ranges.ranges() {
            let plan = ScanPlan {
                range: *range,
                checked: self.dedup.hot_checked_for(range.hi),
            };
            let mut scan = self.sources.hot.scan(self.partition, plan);
            let list = scan.list_bytes().await;
            let list = list.map_err(|error| hot_error(SourceError::Unavailable(error.into())))?;
            self.charge.hold(list).await?;
            loop {
                let reads = &self.sources.memory.reads;
                let memory = reads.reserve(HOT_READ_BYTES, MEMORY_WAIT).await;
                let memory = memory.map_err(QueryError::from)?;
                let step = scan.next().await;
                let step =
                    step.map_err(|error| hot_error(SourceError::Unavailable(error.into())))?;
                self.charge.hold(scan.held_bytes()).await?;
                drop(memory);
                match step {
                    ScanStep::Rows(rows) => self.add_unsealed(Source::Hot, rows, to).await?,
                    ScanStep::Stale => return Err(hot_error(SourceError::Stale)),
                    ScanStep::End => break,
                }
            }
            self.charge.hold(0).await?;
        }
        Ok(())
    }

    /// Adds those of `rows` that are the tenant's and no duplicates.
    async fn add_unsealed(
        &mut self,
        source: Source,
        mut rows: Vec<StoredEvent>,
        to: &mut UnsealedRows,
    ) -> Result<(), ReadError> {
        self.count_rows(source, rows.len());
        rows.retain(|row| {
            row.event.tenant == self.request.tenant && !self.dedup.is_duplicate(&row.position)
        });
        let bytes = to.add(rows, &self.request.pushdown);
        self.charge.add(bytes).await?;
        match to.full_batch() {
            Some(batch) => self.push_batch(batch).await,
            None => Ok(()),
        }
    }

    /// Charges `batch` and adds it in the columns of the answer.
    async fn push_batch(&mut self, batch: RecordBatch) -> Result<(), ReadError> {
        let batch = segment::conform(&batch, &self.request.schema);
        let batch = batch.map_err(|error| QueryError::Internal(error.into()))?;
        self.charge.add_batch(&batch).await?;
        self.out.batches.push(batch);
        Ok(())
    }

    /// Adds the sums of the rows that were read; what they take was charged group by group.
    pub(super) fn push_sums(&mut self, rows: UnsealedRows) -> Result<(), ReadError> {
        let batch = match rows {
            UnsealedRows::Events(..) => return Ok(()),
            UnsealedRows::Hourly(groups) => groups.into_batch(),
            UnsealedRows::Summaries(groups) => groups.into_batch(),
        };
        let batch = batch.map_err(|error| QueryError::Internal(error.into()))?;
        if batch.num_rows() > 0 {
            self.out.batches.push(batch);
        }
        Ok(())
    }
}

/// Whether `row` satisfies the conditions that are pushed down.
fn matches(pushdown: &Pushdown, row: &StoredEvent) -> bool {
    let event = &row.event;
    let among = |set: &Option<std::collections::BTreeSet<String>>, text: &str| {
        set.as_ref().is_none_or(|set| set.contains(text))
    };
    among(&pushdown.conversations, event.conversation_id.as_str())
        && among(&pushdown.types, event.event_type.as_str())
        && pushdown
            .timestamp_from
            .is_none_or(|from| event.timestamp >= from)
        && pushdown.timestamp_to.is_none_or(|to| event.timestamp <= to)
}
