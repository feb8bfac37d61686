//! The next step of archiving one partition. Pure.

use std::collections::BTreeMap;

use event::{RangeSet, Seq, SeqRange};
use warm_tier::remote::PartitionCoverage;

/// Bounds memory: content bytes in one commit. A larger slice is committed alone.
pub(crate) const MAX_COMMIT_BYTES: u64 = 64 * 1024 * 1024;

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
    /// Archive this range. The parts that are lost in every tier are recorded with it.
    Archive { range: SeqRange, lost: RangeSet },
    /// Nothing can be archived now, for this reason.
    Blocked(String),
}

/// Returns the next range to archive: it follows the committed one, ends with a slice where
/// possible, and has no gap but `accepted` ones. A gap cannot be left for later: the progress of a
/// partition is one sequence, up to which all of it is committed.
pub(crate) fn next_step(
    committed: Committed,
    warm: &PartitionCoverage,
    accepted: &RangeSet,
) -> ArchiveStep {
    let lo = match committed.events {
        // An empty cold tier starts where this warm tier starts.
        0 => warm.first,
        events => events + 1,
    };
    if lo > warm.sealed {
        return ArchiveStep::UpToDate;
    }
    // A run crashed between the commits of one range: exactly that range is completed first.
    let begun = committed.hourly_stats.max(committed.conversation_summary);
    let hi = match lo < warm.first && begun < lo {
        true => warm.first - 1,
        false => commit_end(lo, begun, warm),
    };
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
    let before_warm = SeqRange::new(1, warm.first.saturating_sub(1));
    let mut absent = warm.gap_ranges();
    absent.extend(before_warm);
    let open = absent.intersect(range).subtract(accepted);
    let range = match open.ranges().first() {
        None => range,
        Some(gap) if begun >= lo || gap.lo <= lo => {
            return ArchiveStep::Blocked(blocked_by(*gap, warm));
        }
        Some(gap) => SeqRange { lo, hi: gap.lo - 1 },
    };
    let mut lost = absent.intersect(range);
    if committed.events == 0 {
        lost.extend(before_warm);
    }
    ArchiveStep::Archive { range, lost }
}

/// Says that nothing behind `gap` can be archived, and what a person can do.
fn blocked_by(gap: SeqRange, warm: &PartitionCoverage) -> String {
    format!(
        "{gap} of {partition} is neither in cold nor in warm, and nothing behind it is archived or purged from \
         the log until it is refilled; if it is lost for good, see `isotherm gap list` and give it up with \
         `isotherm gap accept {partition}:{gap} --yes`",
        partition = warm.partition
    )
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
