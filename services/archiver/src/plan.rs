//! Plans the steps of a run: ranges to archive, files to rewrite, files to merge. Pure: decides
//! from the state of the tiers, the rules and a time.

mod due;
mod merge;
mod step;
#[cfg(test)]
mod tests;
mod warm_view;

use cold_tier::ColdFile;
use event::{PartitionId, RangeSet, SeqRange};
use retention::Class;
use warm_tier::remote::PartitionCoverage;

pub(crate) use due::{DueRewrites, due_rewrites};
pub(crate) use merge::{FileKind, kind, merged_ranges, merges};
pub(crate) use step::{ArchiveStep, Committed, next_step};
pub(crate) use warm_view::WarmView;

/// Bytes of a row in memory without its content and metadata, about: names, ids and times.
const BYTES_PER_ROW: u64 = 400;

/// Returns the number of rows of `class` in `range`; `None` when `range` cuts a slice, because only
/// whole slices have a known number of rows.
pub(crate) fn expected_rows(
    warm: &PartitionCoverage,
    class: Class,
    range: SeqRange,
) -> Option<u64> {
    let slices = warm.slices.iter().filter(|slice| slice.class == class);
    let overlapping: Vec<_> = slices
        .filter(|slice| slice.range().intersect(&range).is_some())
        .collect();
    let whole = overlapping
        .iter()
        .all(|slice| range.contains(slice.lo) && range.contains(slice.hi));
    whole.then(|| overlapping.iter().map(|slice| slice.rows).sum())
}

/// Returns the classes that have slices in `range`, ascending.
pub(crate) fn classes(warm: &PartitionCoverage, range: SeqRange) -> Vec<Class> {
    let slices = warm.slices.iter();
    let overlapping = slices.filter(|slice| slice.range().intersect(&range).is_some());
    let mut classes: Vec<_> = overlapping.map(|slice| slice.class).collect();
    classes.sort();
    classes.dedup();
    classes
}

/// Divides `range` into parts of equal length, ascending, whose rows of `class` take about `limit` bytes of
/// memory. Only an estimate: metadata is not counted, and sequences differ in size.
pub(crate) fn parts(
    warm: &PartitionCoverage,
    class: Class,
    range: SeqRange,
    limit: u64,
) -> Vec<SeqRange> {
    let slices = warm.slices.iter();
    let own = slices.filter(|own| own.class == class && own.range().intersect(&range).is_some());
    let bytes = own.map(|slice| {
        slice
            .bytes
            .saturating_add(slice.rows.saturating_mul(BYTES_PER_ROW))
    });
    let length = range.hi.saturating_sub(range.lo) + 1;
    let count = bytes.sum::<u64>().div_ceil(limit.max(1)).clamp(1, length);
    let step = length.div_ceil(count);
    let starts = (0..count).map(|n| range.lo + n * step);
    let parts = starts.map_while(|lo| SeqRange::new(lo, range.hi.min(lo + step - 1)));
    parts.collect()
}

/// Returns the halves of `range`; `None` when it is one sequence.
pub(crate) fn halves(range: SeqRange) -> Option<[SeqRange; 2]> {
    let SeqRange { lo, hi } = range;
    let middle = lo + hi.checked_sub(lo)? / 2;
    let is_divisible = middle < hi;
    is_divisible.then(|| [SeqRange { lo, hi: middle }, SeqRange { lo: middle + 1, hi }])
}

/// Whether warm still has every row that `file` was made of.
pub(crate) fn is_whole_in_warm(file: &ColdFile, warm: &PartitionCoverage) -> bool {
    let (Some(provenance), Some(sealed)) = (&file.provenance, warm.sealed_range()) else {
        return false;
    };
    let mut absent = warm.gap_ranges();
    absent.extend(warm.dropped.iter().copied());
    let present = RangeSet::from(sealed).subtract(&absent);
    let is_present = |(partition, range): &(PartitionId, SeqRange)| {
        *partition == warm.partition && RangeSet::from(*range).subtract(&present).is_empty()
    };
    provenance.class.is_some()
        && provenance.sampled.is_none()
        && provenance.ranges.iter().all(is_present)
}
