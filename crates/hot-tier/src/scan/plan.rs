//! What a scan needs of the tier, and how much it reads at once. Pure.

use event::{Seq, SeqRange};

use crate::cursor::HotCursor;

/// Bytes of packs that one round trip should read; bounds memory.
const ROUND_TRIP_BYTES: usize = 8 << 20;
/// Most entries of one round trip, by the packs that are left to be read: few entries can be large, 256 KiB, and
/// what is left bounds the bytes of many.
const MAX_ENTRIES_PER_ROUND_TRIP: usize = 64;
const MAX_ENTRIES_OF_SMALL_REST: usize = 4096;
/// Packs that are left, in bytes, up to which `MAX_ENTRIES_OF_SMALL_REST` applies.
const SMALL_REST_BYTES: usize = 2 * ROUND_TRIP_BYTES;
/// What a scan must find in the tier at each of its round trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanPlan {
    pub range: SeqRange,
    /// The sequence up to which the tier must know all duplicates.
    pub checked: Seq,
}

impl ScanPlan {
    /// Whether a tier with `cursor` has everything of the range. `raised` is the number of conversations
    /// with a floor of their own behind the start of the range.
    pub(super) fn is_met(&self, cursor: &HotCursor, raised: usize) -> bool {
        raised == 0
            && cursor.floor <= self.range.lo
            && cursor.last >= self.range.hi
            && cursor.checked >= self.checked
    }
}

/// Returns how many entries the next round trip may read, when `entries` of `bytes` have been read and
/// `left` bytes may follow.
pub(super) fn entries_of_round_trip(entries: usize, bytes: usize, left: usize) -> usize {
    let most = if left <= SMALL_REST_BYTES {
        MAX_ENTRIES_OF_SMALL_REST
    } else {
        MAX_ENTRIES_PER_ROUND_TRIP
    };
    let mean = bytes / entries.max(1);
    (ROUND_TRIP_BYTES / mean.max(1)).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(floor: Seq, last: Seq, checked: Seq) -> HotCursor {
        HotCursor {
            epoch: 1,
            last,
            floor,
            checked,
            events: 0,
            bytes: 0,
        }
    }

    #[test]
    fn a_tier_without_the_whole_range_or_its_duplicates_does_not_meet_the_plan() {
        let plan = ScanPlan {
            range: SeqRange { lo: 5, hi: 10 },
            checked: 9,
        };
        assert!(plan.is_met(&cursor(5, 10, 9), 0));
        assert!(plan.is_met(&cursor(1, 12, 12), 0));
        for (other, raised) in [
            (cursor(6, 10, 9), 0),
            (cursor(5, 9, 9), 0),
            (cursor(5, 10, 8), 0),
            (cursor(5, 10, 9), 1),
        ] {
            assert!(!plan.is_met(&other, raised), "{other:?} {raised}");
        }
    }

    #[test]
    fn a_round_trip_reads_few_large_entries_and_many_small_ones() {
        assert_eq!(entries_of_round_trip(0, 0, 1000), 4096);
        assert_eq!(entries_of_round_trip(0, 0, 1 << 30), 64);
        assert_eq!(entries_of_round_trip(100, 100 << 18, 1 << 30), 32);
        assert_eq!(entries_of_round_trip(100, 100 << 30, 1 << 40), 1);
    }
}
