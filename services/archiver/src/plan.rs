//! Plans the steps of a run: ranges to archive, files to rewrite, files to merge. Pure: decides
//! from the state of the tiers, the rules and a time.

mod due;
mod merge;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use cold_tier::ColdFile;
use event::{PartitionId, RangeSet, Seq, SeqRange};
use retention::Class;
use warm_tier::remote::PartitionCoverage;

pub(crate) use due::{DueRewrites, due_rewrites};
pub(crate) use merge::{FileKind, kind, merged_ranges, merges};

/// Content bytes in one commit. A larger slice is committed alone.
pub(crate) const MAX_COMMIT_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of a row in memory without its content and metadata, about: names, ids and times.
const BYTES_PER_ROW: u64 = 400;

/// The last committed sequence of one partition, per cold table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) hourly_stats: Seq,
    pub(crate) conversation_summary: Seq,
    pub(crate) events: Seq,
}

/// The next step of archiving one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ArchiveStep {
    /// Everything that is sealed is in cold.
    UpToDate,
    /// Archive this range.
    Archive(SeqRange),
    /// Nothing can be archived now, for this reason.
    Blocked(String),
}

/// Returns the next range to archive: it follows the committed one, ends with a slice where
/// possible, and has no gap.
pub(crate) fn next_step(committed: Committed, warm: &PartitionCoverage) -> ArchiveStep {
    let lo = match committed.events {
        // An empty cold tier starts where this warm tier starts.
        0 => warm.first,
        events => events + 1,
    };
    if lo > warm.sealed {
        return ArchiveStep::UpToDate;
    }
    if lo < warm.first {
        return ArchiveStep::Blocked(format!(
            "{lo}-{} are in neither tier: warm begins at {}",
            warm.first - 1,
            warm.first
        ));
    }
    // A run crashed between the commits of one range: exactly that range is completed first.
    let begun = committed.hourly_stats.max(committed.conversation_summary);
    let hi = commit_end(lo, begun, warm);
    let range = SeqRange { lo, hi };
    if hi > warm.sealed {
        return ArchiveStep::Blocked(format!("{range} was begun and is not sealed here yet"));
    }
    // Warm drops only what its own cold tier has: this is another one, which would never get it.
    let dropped: RangeSet = warm.dropped.iter().copied().collect();
    if let Some(missing) = dropped.intersect(range).ranges().first() {
        return ArchiveStep::Blocked(format!(
            "{missing} has left warm for another cold tier; is --cold-url the compactor's?"
        ));
    }
    let gaps = warm.gap_ranges().intersect(range);
    match gaps.ranges().first() {
        None => ArchiveStep::Archive(range),
        Some(gap) if begun >= lo || gap.lo <= lo => {
            ArchiveStep::Blocked(format!("{gap} is lost in warm until it is refilled"))
        }
        Some(gap) => ArchiveStep::Archive(SeqRange { lo, hi: gap.lo - 1 }),
    }
}

/// The last sequence of the commit that starts at `lo`: that of the range when it was begun, else
/// the end of the last slice that fits into one commit.
fn commit_end(lo: Seq, begun: Seq, warm: &PartitionCoverage) -> Seq {
    if begun >= lo {
        return begun;
    }
    let mut bytes_by_end: BTreeMap<Seq, u64> = BTreeMap::new();
    for slice in warm.slices.iter().filter(|slice| slice.hi >= lo) {
        *bytes_by_end.entry(slice.hi.min(warm.sealed)).or_default() += slice.bytes;
    }
    let mut bytes = 0;
    let mut last = None;
    for (hi, slice_bytes) in bytes_by_end {
        bytes += slice_bytes;
        if bytes > MAX_COMMIT_BYTES && last.is_some() {
            return last.unwrap_or(warm.sealed);
        }
        last = Some(hi);
    }
    // Sequences without a slice (dropped, or without events) add no bytes.
    warm.sealed
}

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
