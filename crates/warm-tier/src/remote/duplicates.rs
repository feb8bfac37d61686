//! What of the newest events repeats earlier ones: the log and the hot tier have both, and only
//! the warm tier's writer knows every event of the last 24 hours.

use std::collections::{BTreeMap, BTreeSet};

use event::{PartitionId, Seq, SeqRange};
use serde::{Deserialize, Serialize};

use super::serial;
use crate::open_segment::Duplicate;

/// The writer's word on one partition: of all events behind `after` up to `through`, those it
/// lists repeat an earlier one and the others do not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicates {
    pub after: Seq,
    pub through: Seq,
    /// Frame → the indexes in it.
    places: BTreeMap<Seq, BTreeSet<u16>>,
}

impl Duplicates {
    #[must_use]
    pub(crate) fn new(after: Seq, through: Seq) -> Self {
        Self {
            after,
            through,
            places: BTreeMap::new(),
        }
    }

    /// What this speaks of; `None` when it is nothing.
    #[must_use]
    pub fn range(&self) -> Option<SeqRange> {
        SeqRange::new(self.after + 1, self.through)
    }

    /// Whether the event at `(seq, idx)` is known to repeat an earlier one.
    #[must_use]
    pub fn contains(&self, (seq, idx): (Seq, u16)) -> bool {
        self.places
            .get(&seq)
            .is_some_and(|places| places.contains(&idx))
    }

    /// Whether nothing is a repeat.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn add(&mut self, through: Seq, dropped: &[Duplicate]) {
        self.through = through;
        for duplicate in dropped {
            let places = self.places.entry(duplicate.seq).or_default();
            places.insert(duplicate.idx);
        }
    }

    /// Forgets what lies up to `seq`.
    pub(crate) fn forget(&mut self, seq: Seq) {
        self.after = self.after.max(seq);
        self.places = self.places.split_off(&(self.after + 1));
    }

    /// The part behind `after`.
    pub(crate) fn behind(&self, after: Seq) -> Self {
        let after = self.after.max(after);
        let places = self.places.range(after + 1..);
        Self {
            after,
            through: self.through,
            places: places.map(|(seq, own)| (*seq, own.clone())).collect(),
        }
    }
}

/// Asks for the part of the word on `partition` that lies behind `after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DuplicatesRequest {
    #[serde(with = "serial::partition")]
    pub(crate) partition: PartitionId,
    pub(crate) after: Seq,
}

#[cfg(test)]
mod tests {
    use event::{ConversationId, EventId, TenantId};

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
    fn a_word_survives_its_json_and_speaks_of_what_was_asked_for() {
        let mut word = Duplicates::new(3, 3);
        assert_eq!(word.range(), None);
        word.add(9, &[dropped(5, 0), dropped(5, 2), dropped(8, 1)]);

        let part = word.behind(5);
        let json = serde_json::to_string(&part).unwrap();

        assert_eq!(json, r#"{"after":5,"through":9,"places":{"8":[1]}}"#);
        assert_eq!(serde_json::from_str::<Duplicates>(&json).unwrap(), part);
        assert_eq!(part.range(), SeqRange::new(6, 9));
        assert!(part.contains((8, 1)) && !part.contains((8, 0)) && !part.contains((5, 0)));
        assert_eq!(
            word.behind(1),
            word,
            "it does not speak of more than it knows"
        );
    }

    #[test]
    fn what_is_forgotten_is_not_spoken_of() {
        let mut word = Duplicates::new(0, 0);
        word.add(4, &[dropped(2, 0), dropped(4, 0)]);
        word.forget(2);
        assert_eq!(word.range(), SeqRange::new(3, 4));
        assert!(!word.contains((2, 0)) && word.contains((4, 0)));
        word.forget(1);
        assert_eq!(word.after, 2);
    }
}
