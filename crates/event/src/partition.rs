//! Partitions, and the assignment of conversations to them.

use std::{fmt, num::NonZeroU16};

use xxhash_rust::xxh3::Xxh3;

use crate::id::{ConversationId, TenantId};

/// The id of one partition of the log: the unit of order, of ownership and of hand-over.
///
/// A generation is one choice of the partition count; an epoch is one incarnation of a
/// partition's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    pub generation: u16,
    pub partition: u16,
    pub epoch: u16,
}

impl PartitionId {
    /// Partition `partition` of the first generation and epoch.
    #[must_use]
    pub const fn first(partition: u16) -> Self {
        Self {
            generation: 1,
            partition,
            epoch: 1,
        }
    }
}

/// Writes `g1p07e1`, the name used in subjects, folders, transactions and tables.
impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            generation,
            partition,
            epoch,
        } = self;
        write!(f, "g{generation}p{partition:02}e{epoch}")
    }
}

/// The number of partitions of a generation: 1 to [`Self::MAX_PARTITIONS`], fixed for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionCount(NonZeroU16);

impl PartitionCount {
    /// The largest number of partitions: no reason but to bound the streams of the log, one each.
    pub const MAX_PARTITIONS: u16 = 1024;

    /// Makes a count; `None` for 0 and for more than [`Self::MAX_PARTITIONS`].
    #[must_use]
    pub fn new(count: u16) -> Option<Self> {
        NonZeroU16::new(count)
            .filter(|count| count.get() <= Self::MAX_PARTITIONS)
            .map(Self)
    }

    /// The count as a number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0.get()
    }

    /// The partition of a conversation: `xxh3_64(tenant 0x00 conversation) mod P`.
    #[must_use]
    pub fn partition_of(self, tenant: &TenantId, conversation: &ConversationId) -> PartitionId {
        let mut hasher = Xxh3::new();
        hasher.update(tenant.as_str().as_bytes());
        hasher.update(&[0]);
        hasher.update(conversation.as_str().as_bytes());
        let partition = hasher.digest() % u64::from(self.get());
        PartitionId::first(u16::try_from(partition).expect("less than a u16"))
    }

    /// All partitions of the first generation, ascending.
    pub fn all(self) -> impl Iterator<Item = PartitionId> {
        (0..self.get()).map(PartitionId::first)
    }
}

#[cfg(test)]
mod tests {
    use super::PartitionCount;
    use crate::id::{ConversationId, TenantId};

    #[test]
    fn a_conversation_stays_in_its_partition_for_ever() {
        let (tenant, count) = (TenantId::default_tenant(), PartitionCount::new(16).unwrap());
        let of = |text: &str| {
            count
                .partition_of(&tenant, &ConversationId::new(text).unwrap())
                .partition
        };
        // Golden: with another assignment the stored events would no longer be found.
        assert_eq!([of("a"), of("b"), of("conversation-1")], GOLDEN);
    }

    const GOLDEN: [u16; 3] = [2, 12, 14];

    #[test]
    fn counts_out_of_range_are_refused() {
        assert!(PartitionCount::new(0).is_none());
        assert!(PartitionCount::new(1025).is_none());
        assert_eq!(PartitionCount::new(1024).unwrap().all().count(), 1024);
    }
}
