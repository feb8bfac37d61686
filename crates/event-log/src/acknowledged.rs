//! The sequences that the log has acknowledged.

use std::sync::atomic::AtomicU64;

use event::{PartitionCount, PartitionId};

/// The highest acknowledged sequence of each partition, by which an appender notices a log that went
/// backwards.
#[derive(Debug)]
pub(crate) struct AcknowledgedSeqs(Box<[AtomicU64]>);

impl Default for AcknowledgedSeqs {
    fn default() -> Self {
        Self(
            (0..PartitionCount::MAX_PARTITIONS)
                .map(|_| AtomicU64::new(0))
                .collect(),
        )
    }
}

impl AcknowledgedSeqs {
    pub(crate) fn of(&self, partition: PartitionId) -> Option<&AtomicU64> {
        self.0.get(usize::from(partition.partition))
    }
}
