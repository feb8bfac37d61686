//! The memory of what is not sealed, of all partitions together.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use event::PartitionId;

/// Bytes of memory of one partition's open part, and of the one before it while that is sealed.
#[derive(Clone, Copy, Debug, Default)]
struct PartBytes {
    open: u64,
    sealing: u64,
}

/// Counts the memory of all open parts against one limit. Cheap to clone; clones share their counts.
#[derive(Clone, Debug)]
pub(crate) struct OpenMemory {
    limit: u64,
    part_limit: u64,
    parts: Arc<Mutex<BTreeMap<PartitionId, PartBytes>>>,
}

impl OpenMemory {
    /// At most `limit` bytes in all, and `part_limit` in one open part.
    pub(crate) fn new(limit: u64, part_limit: u64) -> Self {
        Self {
            limit,
            part_limit,
            parts: Arc::default(),
        }
    }

    /// Sets the bytes of `partition`: of its open part, and of the one that is sealed.
    pub(crate) fn set(&self, partition: PartitionId, open: u64, sealing: u64) {
        self.lock().insert(partition, PartBytes { open, sealing });
    }

    /// The bytes of all partitions.
    pub(crate) fn used(&self) -> u64 {
        used(&self.lock())
    }

    /// Whether `partition` has to be sealed, to make room before the limit is reached.
    pub(crate) fn wants_seal(&self, partition: PartitionId) -> bool {
        wants_seal(&self.lock(), self.limit, partition)
    }

    /// Whether appends to `partition` have to wait until a seal has made room.
    pub(crate) fn is_full(&self, partition: PartitionId) -> bool {
        let parts = self.lock();
        let part = parts.get(&partition).map_or(0, |part| part.open);
        part >= self.part_limit || used(&parts) >= self.limit
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PartitionId, PartBytes>> {
        self.parts
            .lock()
            .expect("nothing panics while it holds this")
    }
}

fn used(parts: &BTreeMap<PartitionId, PartBytes>) -> u64 {
    parts.values().map(|part| part.open + part.sealing).sum()
}

/// From half of the limit on the largest open part is sealed, because a seal takes time, in which appends
/// go on. Pure.
fn wants_seal(
    parts: &BTreeMap<PartitionId, PartBytes>,
    limit: u64,
    partition: PartitionId,
) -> bool {
    let largest = parts.iter().max_by_key(|(_, part)| part.open);
    used(parts) > limit / 2 && largest.is_some_and(|(largest, _)| *largest == partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: [PartitionId; 3] = [
        PartitionId::first(0),
        PartitionId::first(1),
        PartitionId::first(2),
    ];

    #[test]
    fn from_half_of_the_limit_on_the_largest_open_part_is_sealed() {
        let memory = OpenMemory::new(100, 100);
        memory.set(P[0], 20, 0);
        memory.set(P[1], 30, 0);
        assert!(!memory.wants_seal(P[1]));
        memory.set(P[2], 1, 0);
        assert_eq!(P.map(|id| memory.wants_seal(id)), [false, true, false]);
        // What is sealed already takes memory until it is done, and does not become less by another seal.
        memory.set(P[1], 0, 31);
        assert_eq!(P.map(|id| memory.wants_seal(id)), [true, false, false]);
    }

    #[test]
    fn appends_wait_at_the_limit_of_all_and_of_their_own_part() {
        let memory = OpenMemory::new(100, 30);
        memory.set(P[0], 29, 69);
        assert!(!memory.is_full(P[0]));
        memory.set(P[0], 30, 0);
        assert_eq!(P.map(|id| memory.is_full(id)), [true, false, false]);
        memory.set(P[0], 29, 71);
        assert_eq!(P.map(|id| memory.is_full(id)), [true; 3]);
    }
}
