//! Scans of all of a tenant, or of what a statement needs of it: columns from warm and cold for what
//! is sealed, rows from hot or the log for what is not yet.

mod events;
mod partition_scan;
mod rollups;

pub(crate) use events::retention_columns;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
};

use arrow::{array::Array as _, datatypes::SchemaRef, record_batch::RecordBatch};
use event::{ConversationId, PartitionId, Seq, TenantId};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use warm_tier::sql::{Pushdown, Table};

use self::partition_scan::PartitionScan;
use crate::{
    error::{QueryError, Result},
    plan::Source,
    read::Missing,
    retry::RetryState,
    service::QueryService,
    sources::Sources,
};

/// Partitions scanned at once per request; no reason but to bound memory and the load on the tiers.
const MAX_CONCURRENT_PARTITIONS: usize = 4;

/// The rows and columns of one table to read, for one tenant.
#[derive(Debug)]
pub(crate) struct ScanRequest {
    pub(crate) tenant: TenantId,
    pub(crate) table: Table,
    /// The columns of the answer, a subset of the table's.
    pub(crate) schema: SchemaRef,
    pub(crate) pushdown: Pushdown,
    pub(crate) budget: Budget,
    /// Leave out what was appended behind these sequences; `None` reads everything.
    pub(crate) through: Option<Through>,
}

/// The last sequence of each partition; a partition that is not there has none.
pub(crate) type Through = BTreeMap<PartitionId, Seq>;

/// Rollups are small; this only bounds memory if one is not.
const MAX_ROLLUP_BYTES: u64 = 1 << 30;

impl ScanRequest {
    /// Returns a request for all of a tenant's rows of a rollup table.
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
            through: None,
        }
    }
}

/// Bytes of columns that a statement may still read.
#[derive(Debug)]
pub(crate) struct Budget {
    max: u64,
    remaining: AtomicU64,
}

impl Budget {
    pub(crate) fn new(max: u64) -> Self {
        Self {
            max,
            remaining: AtomicU64::new(max),
        }
    }

    /// Subtracts the size of `batch`.
    ///
    /// # Errors
    ///
    /// `scan_too_large` when less remains.
    fn charge(&self, batch: &RecordBatch) -> Result<()> {
        let bytes: usize = batch
            .columns()
            .iter()
            .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0))
            .sum();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let subtract = |remaining: u64| remaining.checked_sub(bytes);
        let charged = self
            .remaining
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract);
        charged
            .map(drop)
            .map_err(|_| QueryError::scan_too_large(self.max))
    }
}

/// The rows of a scan, the gaps by partition, and the sources that contributed.
#[derive(Debug, Default)]
pub(crate) struct ScanResult {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) missing: Vec<(PartitionId, Missing)>,
    pub(crate) sources: BTreeSet<Source>,
    pub(crate) through: Through,
}

impl ScanResult {
    fn add(&mut self, other: Self) {
        self.batches.extend(other.batches);
        self.missing.extend(other.missing);
        self.sources.extend(other.sources);
        self.through.extend(other.through);
    }
}

impl QueryService {
    /// Scans every partition that may have requested rows.
    ///
    /// # Errors
    ///
    /// The answer to the client: the budget is exceeded, no source is readable, or a row is damaged.
    pub(crate) async fn scan(&self, request: &ScanRequest) -> Result<ScanResult> {
        let mut partitions: BTreeSet<PartitionId> = self.partitions.all().collect();
        if let Some(conversations) = &request.pushdown.conversations {
            let ids = conversations
                .iter()
                .filter_map(|id| ConversationId::new(id).ok());
            let partition_of = |id| self.partitions.partition_of(&request.tenant, &id);
            partitions = ids.map(partition_of).collect();
        }
        let mut parts = stream::iter(partitions)
            .map(|partition| self.sources.scan_partition(partition, request))
            .buffer_unordered(MAX_CONCURRENT_PARTITIONS);
        let mut all = ScanResult::default();
        while let Some(part) = parts.try_next().await? {
            all.add(part);
        }
        Ok(all)
    }
}

impl Sources {
    async fn scan_partition(
        &self,
        partition: PartitionId,
        request: &ScanRequest,
    ) -> Result<ScanResult> {
        let mut retry = RetryState::default();
        loop {
            let scan = PartitionScan::start(self, partition, request, &retry).await;
            match scan.run(&retry).await {
                Ok(scanned) => return Ok(scanned),
                Err(error) => retry.back_off(error).await?,
            }
        }
    }
}
