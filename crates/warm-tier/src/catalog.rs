//! The catalog: the open partitions of a data folder.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use event::PartitionId;

use crate::{sealed_partition::SealedPartition, unsealed::Unsealed};

/// What readers share of an open partition.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) sealed: Arc<SealedPartition>,
    pub(crate) unsealed: Arc<Unsealed>,
}

/// The open partitions of a data folder. Cheap to clone; clones share their content.
#[derive(Clone, Debug, Default)]
pub struct Catalog(Arc<Mutex<BTreeMap<PartitionId, Shared>>>);

impl Catalog {
    pub(crate) fn insert(&self, shared: Shared) {
        self.lock().insert(shared.sealed.partition, shared);
    }

    /// Finds `partition`.
    pub(crate) fn partition(&self, partition: PartitionId) -> Option<Shared> {
        self.lock().get(&partition).cloned()
    }

    /// Finds the sealed part of `partition`.
    #[must_use]
    pub fn sealed(&self, partition: PartitionId) -> Option<Arc<SealedPartition>> {
        self.partition(partition).map(|shared| shared.sealed)
    }

    /// All open partitions, ascending.
    pub(crate) fn partitions(&self) -> Vec<Shared> {
        self.lock().values().cloned().collect()
    }

    /// The sealed parts of all open partitions, ascending by partition.
    #[must_use]
    pub fn sealed_partitions(&self) -> Vec<Arc<SealedPartition>> {
        let all = self.lock();
        all.values().map(|own| Arc::clone(&own.sealed)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Shared>> {
        self.0.lock().expect("nothing panics while it holds this")
    }
}
