//! A batch of an append, and its halves. Pure.

use event::{Seq, SeqRange, StoredEvent};

use crate::duplicates::Duplicate;

/// Consecutive frames of the log, deduplicated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    pub range: SeqRange,
    /// Ascending by position, as all below.
    pub events: &'a [StoredEvent],
    pub dropped: &'a [Duplicate],
    pub dead_letters: &'a [Seq],
    /// Bytes of canonical events, for the size at which a segment is sealed.
    pub encoded_bytes: u64,
}

impl Batch<'_> {
    /// The two halves of its frames; `None` when it is of one frame. Their encoded bytes are in proportion
    /// to their events.
    pub(crate) fn halves(&self) -> Option<(Self, Self)> {
        let SeqRange { lo, hi } = self.range;
        let middle = lo + (hi - lo) / 2;
        let second = SeqRange::new(middle + 1, hi)?;
        let events = self.events.partition_point(|e| e.position.seq <= middle);
        let dropped = self.dropped.partition_point(|d| d.seq <= middle);
        let dead_letters = self.dead_letters.partition_point(|seq| *seq <= middle);
        let (all, part) = (self.events.len().max(1) as u64, events as u64);
        let encoded_bytes = self.encoded_bytes / all * part;
        let first = Self {
            range: SeqRange { lo, hi: middle },
            events: &self.events[..events],
            dropped: &self.dropped[..dropped],
            dead_letters: &self.dead_letters[..dead_letters],
            encoded_bytes,
        };
        let second = Self {
            range: second,
            events: &self.events[events..],
            dropped: &self.dropped[dropped..],
            dead_letters: &self.dead_letters[dead_letters..],
            encoded_bytes: self.encoded_bytes - encoded_bytes,
        };
        Some((first, second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_have_everything_once_and_one_frame_has_none() {
        let batch = Batch {
            range: SeqRange { lo: 4, hi: 6 },
            events: &[],
            dropped: &[],
            dead_letters: &[4, 6],
            encoded_bytes: 10,
        };
        let (first, second) = batch.halves().unwrap();
        assert_eq!((first.range.lo, first.range.hi), (4, 5));
        assert_eq!((second.range.lo, second.range.hi), (6, 6));
        assert_eq!(
            (first.dead_letters, second.dead_letters),
            (&[4][..], &[6][..])
        );
        assert_eq!(first.encoded_bytes + second.encoded_bytes, 10);
        assert!(second.halves().is_none());
    }
}
