//! The catalog: the open partitions of a data folder.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use event::PartitionId;

use crate::sealed_partition::SealedPartition;

/// The open partitions of a data folder. Cheap to clone; clones share their content.
#[derive(Clone, Debug, Default)]
pub struct Catalog(Arc<Mutex<BTreeMap<PartitionId, Arc<SealedPartition>>>>);

impl Catalog {
    pub(crate) fn insert(&self, sealed: Arc<SealedPartition>) {
        self.lock().insert(sealed.partition, sealed);
    }

    /// Finds the sealed part of `partition`.
    #[must_use]
    pub fn sealed(&self, partition: PartitionId) -> Option<Arc<SealedPartition>> {
        self.lock().get(&partition).map(Arc::clone)
    }

    /// The sealed parts of all open partitions, ascending by partition.
    #[must_use]
    pub fn sealed_partitions(&self) -> Vec<Arc<SealedPartition>> {
        self.lock().values().map(Arc::clone).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Arc<SealedPartition>>> {
        self.0.lock().expect("nothing panics while it holds this")
    }
}
