//! Ranges of sequences, and sets of them: the coverage of a tier, the gaps of a read.

use std::fmt;

use crate::position::Seq;

/// The sequences `lo..=hi` of one partition: both ends inclusive, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqRange {
    pub lo: Seq,
    pub hi: Seq,
}

impl SeqRange {
    /// Makes the range `lo..=hi`; `None` if `lo > hi`.
    #[must_use]
    pub fn new(lo: Seq, hi: Seq) -> Option<Self> {
        (lo <= hi).then_some(Self { lo, hi })
    }

    /// Returns true if `seq` lies in the range.
    #[must_use]
    pub fn contains(&self, seq: Seq) -> bool {
        (self.lo..=self.hi).contains(&seq)
    }

    /// The sequences in both ranges; `None` if there are none.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        Self::new(self.lo.max(other.lo), self.hi.min(other.hi))
    }
}

impl fmt::Display for SeqRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.lo, self.hi)
    }
}

/// A set of sequences, kept as disjoint, ascending, non-adjacent ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet(Vec<SeqRange>);

impl RangeSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The ranges of the set: disjoint, not adjacent, ascending.
    #[must_use]
    pub fn ranges(&self) -> &[SeqRange] {
        &self.0
    }

    /// Returns true if the set has no sequence.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if `seq` is in the set.
    #[must_use]
    pub fn contains(&self, seq: Seq) -> bool {
        self.0.iter().any(|range| range.contains(seq))
    }

    /// Adds `range` and merges it with the ranges that overlap or adjoin it.
    pub fn insert(&mut self, range: SeqRange) {
        let mut merged = range;
        self.0.retain(|old| {
            let apart =
                old.hi.saturating_add(1) < merged.lo || merged.hi.saturating_add(1) < old.lo;
            if !apart {
                merged.lo = merged.lo.min(old.lo);
                merged.hi = merged.hi.max(old.hi);
            }
            apart
        });
        let at = self.0.partition_point(|old| old.lo < merged.lo);
        self.0.insert(at, merged);
    }

    /// The sequences of `range` that are in the set.
    #[must_use]
    pub fn intersect(&self, range: SeqRange) -> Self {
        Self(
            self.0
                .iter()
                .filter_map(|own| own.intersect(&range))
                .collect(),
        )
    }

    /// The sequences of the set that are not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut remaining = Vec::new();
        for own in &self.0 {
            let mut lo = Some(own.lo);
            for cut in other.0.iter().filter(|cut| cut.intersect(own).is_some()) {
                let from = lo.expect("the loop ends at the cut that reaches the end of the range");
                if let Some(end) = cut.lo.checked_sub(1) {
                    remaining.extend(SeqRange::new(from, end));
                }
                lo = cut.hi.checked_add(1).filter(|next| *next <= own.hi);
                if lo.is_none() {
                    break;
                }
            }
            remaining.extend(lo.and_then(|lo| SeqRange::new(lo, own.hi)));
        }
        Self(remaining)
    }

    /// The last sequence of the contiguous run that contains `from`; `None` if `from` is not in the set.
    #[must_use]
    pub fn contiguous_from(&self, from: Seq) -> Option<Seq> {
        self.0
            .iter()
            .find(|range| range.contains(from))
            .map(|range| range.hi)
    }
}

impl FromIterator<SeqRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = SeqRange>>(ranges: I) -> Self {
        let mut set = Self::new();
        set.extend(ranges);
        set
    }
}

impl Extend<SeqRange> for RangeSet {
    fn extend<I: IntoIterator<Item = SeqRange>>(&mut self, ranges: I) {
        for range in ranges {
            self.insert(range);
        }
    }
}

impl IntoIterator for RangeSet {
    type Item = SeqRange;
    type IntoIter = std::vec::IntoIter<SeqRange>;

    /// Iterates over the ranges, ascending.
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl From<SeqRange> for RangeSet {
    fn from(range: SeqRange) -> Self {
        Self(vec![range])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{RangeSet, SeqRange};

    fn any_ranges() -> impl Strategy<Value = Vec<SeqRange>> {
        prop::collection::vec((0..60_u64, 0..8_u64), 0..12).prop_map(|pairs| {
            pairs
                .into_iter()
                .map(|(lo, len)| SeqRange { lo, hi: lo + len })
                .collect()
        })
    }

    fn members(set: &RangeSet) -> BTreeSet<u64> {
        set.ranges()
            .iter()
            .flat_map(|range| range.lo..=range.hi)
            .collect()
    }

    fn model(ranges: &[SeqRange]) -> BTreeSet<u64> {
        ranges
            .iter()
            .flat_map(|range| range.lo..=range.hi)
            .collect()
    }

    proptest! {
        #[test]
        fn a_set_holds_what_was_inserted_as_disjoint_ascending_ranges(ranges in any_ranges()) {
            let set: RangeSet = ranges.iter().copied().collect();
            prop_assert_eq!(members(&set), model(&ranges));
            prop_assert!(set.ranges().windows(2).all(|pair| pair[0].hi + 1 < pair[1].lo));
        }

        #[test]
        fn subtraction_leaves_what_only_the_first_has(a in any_ranges(), b in any_ranges()) {
            let (first, second): (RangeSet, RangeSet) =
                (a.iter().copied().collect(), b.iter().copied().collect());
            let expected: BTreeSet<_> = model(&a).difference(&model(&b)).copied().collect();
            prop_assert_eq!(members(&first.subtract(&second)), expected);
        }
    }

    #[test]
    fn subtraction_works_at_the_ends_of_the_numbers() {
        let all = RangeSet::from(SeqRange {
            lo: 0,
            hi: u64::MAX,
        });
        assert!(all.subtract(&all).is_empty());
        let left = all.subtract(&RangeSet::from(SeqRange {
            lo: 5,
            hi: u64::MAX,
        }));
        assert_eq!(left.ranges(), [SeqRange { lo: 0, hi: 4 }]);
    }
}
