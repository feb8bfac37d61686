//! Duplicates among the newest events: the log and the hot tier have both copies, and only the warm
//! tier's writer knows every event of the last 24 hours.

use std::collections::{BTreeMap, BTreeSet};

use event::{ConversationId, EventId, PartitionId, Seq, SeqRange, TenantId};
use serde::{Deserialize, Serialize};

use crate::serial;

/// The columns of a table of duplicates.
pub(crate) const COLUMNS: &str =
    "tenant VARCHAR, conversation_id VARCHAR, event_id VARCHAR, seq BIGINT, idx INTEGER";

/// An event that was dropped because one with its id came before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    pub tenant: TenantId,
    pub conversation_id: ConversationId,
    pub event_id: EventId,
    pub seq: Seq,
    pub idx: u16,
}

impl Duplicate {
    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let texts = self.tenant.as_str().len() + self.conversation_id.as_str().len();
        (size_of::<Self>() + texts) as u64
    }
}

/// The duplicates in the range `after + 1..=through` of one partition: all of them are listed, so
/// an event of the range that is not listed is no duplicate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicates {
    /// The last sequence before the range.
    pub after: Seq,
    /// The last sequence of the range.
    pub through: Seq,
    /// Sequence of a frame → the indexes of the duplicates in it.
    #[serde(rename = "places")]
    indexes: BTreeMap<Seq, BTreeSet<u16>>,
}

impl Duplicates {
    /// No duplicates in `after + 1..=through`.
    #[must_use]
    pub(crate) fn new(after: Seq, through: Seq) -> Self {
        Self {
            after,
            through,
            indexes: BTreeMap::new(),
        }
    }

    /// The range in which all duplicates are listed; `None` when it is empty.
    #[must_use]
    pub fn range(&self) -> Option<SeqRange> {
        SeqRange::new(self.after + 1, self.through)
    }

    /// Returns whether the event at `(seq, idx)` is listed as a duplicate.
    #[must_use]
    pub fn contains(&self, (seq, idx): (Seq, u16)) -> bool {
        self.indexes
            .get(&seq)
            .is_some_and(|indexes| indexes.contains(&idx))
    }

    /// Returns whether no duplicate is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.indexes.is_empty()
    }

    /// Extends the range to `through`, with the duplicates `dropped` in the new part.
    pub(crate) fn extend(&mut self, through: Seq, dropped: &[Duplicate]) {
        self.through = through;
        for duplicate in dropped {
            let indexes = self.indexes.entry(duplicate.seq).or_default();
            indexes.insert(duplicate.idx);
        }
    }

    /// Removes everything up to `seq` from the range.
    pub(crate) fn forget(&mut self, seq: Seq) {
        self.after = self.after.max(seq);
        self.indexes = self.indexes.split_off(&(self.after + 1));
    }

    /// Copies the part of the range after `after`.
    pub(crate) fn since(&self, after: Seq) -> Self {
        let after = self.after.max(after);
        let indexes = self.indexes.range(after + 1..);
        Self {
            after,
            through: self.through,
            indexes: indexes.map(|(seq, own)| (*seq, own.clone())).collect(),
        }
    }
}

/// A request for the duplicates of `partition` after `after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DuplicatesRequest {
    #[serde(with = "serial::partition")]
    pub(crate) partition: PartitionId,
    pub(crate) after: Seq,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(seq: Seq, idx: u16) -> Duplicate {
        Duplicate {
            tenant: TenantId::default_tenant(),
            conversation_id: ConversationId::new("c").unwrap(),
            event_id: EventId::from_u128(1),
            seq,
            idx,
        }
    }

    #[test]
    fn duplicates_survive_their_json_and_cover_the_requested_range() {
        let mut duplicates = Duplicates::new(3, 3);
        assert_eq!(duplicates.range(), None);
        duplicates.extend(9, &[dropped(5, 0), dropped(5, 2), dropped(8, 1)]);

        let part = duplicates.since(5);
        let json = serde_json::to_string(&part).unwrap();

        assert_eq!(json, r#"{"after":5,"through":9,"places":{"8":[1]}}"#);
        assert_eq!(serde_json::from_str::<Duplicates>(&json).unwrap(), part);
        assert_eq!(part.range(), SeqRange::new(6, 9));
        assert!(part.contains((8, 1)) && !part.contains((8, 0)) && !part.contains((5, 0)));
        assert_eq!(
            duplicates.since(1),
            duplicates,
            "the range does not grow beyond what is known"
        );
    }

    #[test]
    fn a_forgotten_range_is_not_covered() {
        let mut duplicates = Duplicates::new(0, 0);
        duplicates.extend(4, &[dropped(2, 0), dropped(4, 0)]);
        duplicates.forget(2);
        assert_eq!(duplicates.range(), SeqRange::new(3, 4));
        assert!(!duplicates.contains((2, 0)) && duplicates.contains((4, 0)));
        duplicates.forget(1);
        assert_eq!(duplicates.after, 2);
    }
}
