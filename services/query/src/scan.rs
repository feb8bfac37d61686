//! All of a tenant, or what a statement needs of it: columns from warm and cold for what is
//! sealed, rows from hot or the log for what is not yet.

mod events;
mod job;
mod rollups;

pub(crate) use events::judged;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use arrow::{array::Array as _, datatypes::SchemaRef, record_batch::RecordBatch};
use event::{ConversationId, PartitionId, TenantId};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use warm_tier::sql::{Pushdown, Table};

use self::job::Job;
use crate::{
    error::{Problem, Result},
    plan::Source,
    read::Missing,
    retry::RetryState,
    service::Service,
    sources::Sources,
};

const AT_ONCE: usize = 4;

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

impl Sources {
    async fn scan_partition(&self, partition: PartitionId, request: &Request) -> Result<Scanned> {
        let mut retry = RetryState::default();
        loop {
            let job = Job::start(self, partition, request, &retry).await;
            match job.run(&retry).await {
                Ok(scanned) => return Ok(scanned),
                Err(stop) => retry.after(stop).await?,
            }
        }
    }
}
