//! The plan of one read as a list of ranges in the order of the answer. Pure.

use event::{Seq, SeqRange};

use crate::{
    merge::ReadOrder,
    plan::{AvailableRanges, Prefer, Source, plan},
};

/// Sequences of one piece that is read from the log; bounds the memory of a piece.
const LOG_CHUNK: Seq = 4096;

/// Returns the pieces of the plan and its gaps (`None`) range by range, in `order`.
pub(super) fn ordered_ranges(
    all: SeqRange,
    available: &AvailableRanges,
    order: ReadOrder,
) -> Vec<(SeqRange, Option<Source>)> {
    let plan = plan(all, available, Prefer::Hot);
    let mut ranges = Vec::new();
    for piece in &plan.pieces {
        for range in piece.ranges.ranges() {
            match piece.source {
                Source::Log => {
                    ranges.extend(log_chunks(*range).map(|part| (part, Some(Source::Log))))
                }
                source => ranges.push((*range, Some(source))),
            }
        }
    }
    ranges.extend(plan.gaps.ranges().iter().map(|range| (*range, None)));
    ranges.sort_by_key(|(range, _)| range.lo);
    if order == ReadOrder::Desc {
        ranges.reverse();
    }
    ranges
}

/// Cuts `range` into parts of at most `LOG_CHUNK` sequences, ascending.
fn log_chunks(range: SeqRange) -> impl Iterator<Item = SeqRange> {
    let step = usize::try_from(LOG_CHUNK).expect("a small number");
    (range.lo..=range.hi).step_by(step).map(move |lo| SeqRange {
        lo,
        hi: range.hi.min(lo.saturating_add(LOG_CHUNK - 1)),
    })
}
