//! Scans of all of a tenant, or of what a statement needs of it: columns from warm and cold.

mod budget;
mod events;
mod in_place;
mod partition_scan;
mod rollups;

pub(crate) use budget::Budget;
pub(crate) use events::retention_columns;

use std::collections::{BTreeMap, BTreeSet};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use event::{ConversationId, PartitionId, Seq, TenantId};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use service_runtime::Reservation;
use warm_tier::sql::{Pushdown, Table, remote::PartitionPlan};

use self::partition_scan::PartitionScan;
use crate::{
    error::Result, memory::SCAN_MEMORY_WAIT, plan::Source, read::Missing, retry::RetryState,
    service::QueryService, sources::Sources,
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
    /// Leave to an executor what it can read where it lies.
    pub(crate) in_place: bool,
    /// Use no state of the tiers that was read before.
    pub(crate) fresh: bool,
    /// Leave out what was appended behind these sequences; `None` reads everything.
    pub(crate) through: Option<Through>,
}

/// The last sequence of each partition; a partition that is not there has none.
pub(crate) type Through = BTreeMap<PartitionId, Seq>;

/// Rollups are small; this only bounds memory if one is not.
const MAX_ROLLUP_BYTES: u64 = 1 << 30;

/// Bytes of one sum beside its name: in a map, and in the answer.
const SUM_BYTES: usize = 512;

impl ScanRequest {
    /// Returns a request for all of a tenant's rows of a rollup table.
    pub(crate) fn rollup(tenant: TenantId, table: Table) -> Self {
        Self {
            tenant,
            table,
            schema: table.schema(),
            pushdown: Pushdown::default(),
            budget: Budget::new(MAX_ROLLUP_BYTES),
            in_place: false,
            fresh: false,
            through: None,
        }
    }
}

/// The rows of a scan, the gaps by partition, and the sources that contributed.
#[derive(Debug, Default)]
pub(crate) struct ScanResult {
    pub(crate) batches: Vec<RecordBatch>,
    /// What is left to an executor.
    pub(crate) in_place: Vec<PartitionPlan>,
    pub(crate) missing: Vec<(PartitionId, Missing)>,
    pub(crate) sources: BTreeSet<Source>,
    pub(crate) through: Through,
    /// The memory of the batches.
    pub(crate) memory: Option<Reservation>,
}

impl ScanResult {
    /// Reserves what it takes to sum the batches, which are rollups, and to answer with the sums.
    ///
    /// # Errors
    ///
    /// `overloaded` when there is no memory.
    pub(crate) async fn reserve_for_sums(&mut self) -> Result<()> {
        let rows: usize = self.batches.iter().map(RecordBatch::num_rows).sum();
        let Some(memory) = &mut self.memory else {
            return Ok(());
        };
        let bytes = 2 * memory.bytes() + rows * SUM_BYTES;
        Ok(memory.grow_to(bytes, SCAN_MEMORY_WAIT).await?)
    }

    fn add(&mut self, other: Self) {
        match (&mut self.memory, other.memory) {
            (Some(memory), Some(more)) => memory.merge(more),
            (memory, more) => *memory = memory.take().or(more),
        }
        self.batches.extend(other.batches);
        self.in_place.extend(other.in_place);
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
