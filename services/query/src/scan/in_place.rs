//! Which rows of the warm tier a statement reads where they lie, and which are read here. Pure.

use arrow::datatypes::Schema;
use event::{RangeSet, SeqRange, Timestamp};
use retention::{Class, RuleSet};
use warm_tier::{
    remote::{PartitionCoverage, SliceCoverage},
    sql::SliceRef,
};

use crate::retention_filter;

/// The ranges of the warm tier that a plan names, by how they are read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct WarmParts {
    /// Slices that the executor reads in place: no row of theirs is past its retention.
    pub(super) slices: Vec<SliceRef>,
    /// What is not sealed, if the executor may ask for it.
    pub(super) unsealed: Vec<SeqRange>,
    /// What is read and filtered here, of one class or, what is not sealed, of every class.
    pub(super) filtered: Vec<(Option<Class>, Vec<SeqRange>)>,
}

/// Divides the ranges `warm` of `coverage`. Rows are filtered here where `rules` may hide some at `now`.
pub(super) fn divide(
    coverage: &PartitionCoverage,
    warm: &RangeSet,
    rules: &RuleSet,
    now: Timestamp,
) -> WarmParts {
    let mut parts = WarmParts::default();
    for slice in &coverage.slices {
        let Some(whole) = SeqRange::new(slice.lo, slice.hi) else {
            continue;
        };
        let ranges = warm.intersect(whole).ranges().to_vec();
        if ranges.is_empty() {
            continue;
        }
        if !retention_filter::are_all_retained(rules, slice.received_min, now) {
            parts.filtered.push((Some(slice.class), ranges));
            continue;
        }
        parts.slices.push(SliceRef {
            ranges: if ranges == [whole] {
                Vec::new()
            } else {
                ranges
            },
            ..SliceRef::whole(slice)
        });
    }
    let unsealed = SeqRange::new(coverage.sealed + 1, coverage.committed);
    let unsealed = unsealed.map(|all| warm.intersect(all).ranges().to_vec());
    let unsealed = unsealed.filter(|ranges| !ranges.is_empty());
    match unsealed {
        None => {}
        Some(ranges)
            if retention_filter::are_all_retained(rules, coverage.unsealed.received_min, now) =>
        {
            parts.unsealed = ranges;
        }
        Some(ranges) => parts.filtered.push((None, ranges)),
    }
    parts
}

/// The slices in the ranges `warm` of `coverage`, and what of these is not sealed; `None` when a slice is only
/// partly in them: its rollup is that of all of its rows.
pub(super) fn whole_slices(
    coverage: &PartitionCoverage,
    warm: &RangeSet,
) -> Option<(Vec<SliceRef>, Vec<SeqRange>)> {
    let mut slices = Vec::new();
    for slice in &coverage.slices {
        let whole = SeqRange::new(slice.lo, slice.hi)?;
        match warm.intersect(whole).ranges() {
            [] => {}
            [all] if *all == whole => slices.push(SliceRef::whole(slice)),
            _ => return None,
        }
    }
    let unsealed = SeqRange::new(coverage.sealed + 1, coverage.committed);
    let unsealed = unsealed.map_or_else(RangeSet::new, |all| warm.intersect(all));
    Some((slices, unsealed.ranges().to_vec()))
}

/// Bytes of a value that is not text of any length.
const VALUE_BYTES: u64 = 8;

/// Bytes of the columns `schema` of what the executor reads of `parts` at most, before any condition.
pub(super) fn price(coverage: &PartitionCoverage, parts: &WarmParts, schema: &Schema) -> u64 {
    let is_long = |name: &str| schema.field_with_name(name).is_ok();
    let columns = u64::try_from(schema.fields().len()).unwrap_or(u64::MAX);
    let bytes = |slice: &SliceCoverage| {
        let content = if is_long("content") { slice.bytes } else { 0 };
        content.saturating_add(slice.rows.saturating_mul(columns * VALUE_BYTES))
    };
    let unsealed = match (parts.unsealed.is_empty(), is_long("content")) {
        (true, _) => 0,
        (false, true) => coverage.unsealed.bytes,
        (false, false) => coverage.unsealed.rows.saturating_mul(columns * VALUE_BYTES),
    };
    let is_read = |slice: &&SliceCoverage| {
        let own =
            |read: &SliceRef| (read.lo, read.hi, read.class) == (slice.lo, slice.hi, slice.class);
        parts.slices.iter().any(own)
    };
    let read = coverage.slices.iter().filter(is_read);
    read.map(bytes).fold(unsealed, u64::saturating_add)
}
