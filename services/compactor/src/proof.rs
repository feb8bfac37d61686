//! The proof that the cold tier has what warm is about to drop: its objects exist as their log entries
//! say, and their rows add up.

use std::collections::BTreeSet;

use cold_tier::{ColdFile, ColdTier, TableSnapshot};
use event::{PartitionId, RangeSet, Seq, SeqRange, Timestamp};
use retention::{Cold, RuleSet};
use warm_tier::Slice;

/// What the cold tier has at one moment, `now` by the clock that ages are counted by.
#[derive(Clone, Debug)]
pub(crate) struct ColdView {
    pub(crate) tier: ColdTier,
    pub(crate) events: TableSnapshot,
    pub(crate) now: Timestamp,
}

/// A reason for which a slice stays in warm.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(crate) enum Doubt {
    /// The object of a live file is missing or has another size.
    #[error("cold tier: {reason}")]
    Damaged { path: String, reason: String },
    /// The store did not answer.
    #[error("cold tier: {reason}")]
    Unavailable { reason: String },
    /// The live files have fewer rows than warm.
    #[error("cold has {cold} rows where warm has {warm}")]
    RowsMissing { cold: u64, warm: u64 },
}

/// The slices of one round that are due and stay, and why.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) slices: i64,
    pub(crate) doubts: BTreeSet<Doubt>,
}

impl ColdView {
    pub(crate) fn committed(&self, partition: PartitionId) -> Seq {
        self.events.committed(partition)
    }

    /// The reasons for which `slice`, one of `slices` of `partition`, must stay; none when cold was
    /// seen to have its rows.
    pub(crate) async fn doubts(
        &self,
        partition: PartitionId,
        slice: &Slice,
        slices: &[Slice],
        rules: &RuleSet,
    ) -> Vec<Doubt> {
        let files: Vec<&ColdFile> = self.events.files().collect();
        let mut doubts = Vec::new();
        for file in overlapping(&files, partition, slice, &range_of(slice)) {
            match self.tier.check_object(file).await {
                Ok(()) => {}
                Err(error) if error.is_damage() => doubts.push(Doubt::Damaged {
                    path: file.path.clone(),
                    reason: error.to_string(),
                }),
                Err(error) => {
                    let reason = error.to_string();
                    doubts.push(Doubt::Unavailable { reason });
                }
            }
        }
        doubts.extend(missing_rows(&files, partition, slice, slices, rules));
        doubts
    }
}

/// Compares the rows of cold and warm in the range of `slice`, and in all that its files share with
/// others. Not where the rules may have removed rows from cold, and not where another engine wrote.
fn missing_rows(
    files: &[&ColdFile],
    partition: PartitionId,
    slice: &Slice,
    slices: &[Slice],
    rules: &RuleSet,
) -> Option<Doubt> {
    if !rules.archives(slice.class) || rules.in_force().any(|own| removes_rows(own.cold.as_ref())) {
        return None;
    }
    if files.iter().any(|file| file.provenance.is_none()) {
        return None;
    }
    let mut shared = range_of(slice);
    let of_shared = loop {
        let found = overlapping(files, partition, slice, &shared);
        let mut grown = shared.clone();
        found
            .iter()
            .for_each(|file| grown.extend(ranges_of(file, partition)));
        if grown == shared {
            break found;
        }
        shared = grown;
    };
    let is_sampled = |file: &&ColdFile| {
        let provenance = file.provenance.as_ref();
        provenance.is_some_and(|own| own.sampled.is_some())
    };
    if of_shared.iter().any(is_sampled) {
        return None;
    }
    let within = slices
        .iter()
        .filter(|own| own.class == slice.class && range_of(own).subtract(&shared).is_empty());
    let cold = of_shared.iter().map(|file| file.rows).sum();
    let warm = within.map(|own| own.rows).sum();
    (cold < warm).then_some(Doubt::RowsMissing { cold, warm })
}

fn removes_rows(cold: Option<&Cold>) -> bool {
    cold.is_some_and(|cold| cold.sampling.is_some() || cold.max_age_ms.is_some())
}

/// The files that may have rows of the class of `slice` in `ranges`.
fn overlapping<'a>(
    files: &[&'a ColdFile],
    partition: PartitionId,
    slice: &Slice,
    ranges: &RangeSet,
) -> Vec<&'a ColdFile> {
    let is_of_class = |file: &&ColdFile| {
        let provenance = file.provenance.as_ref();
        provenance.is_some_and(|own| own.class == Some(slice.class))
    };
    let files = files.iter().copied().filter(is_of_class);
    files
        .filter(|file| {
            ranges_of(file, partition)
                .into_iter()
                .any(|range| !ranges.intersect(range).is_empty())
        })
        .collect()
}

fn ranges_of(file: &ColdFile, partition: PartitionId) -> RangeSet {
    let ranges = file.provenance.iter().flat_map(|own| &own.ranges);
    let own = ranges.filter(|(of, _)| *of == partition);
    own.map(|(_, range)| *range).collect()
}

fn range_of(slice: &Slice) -> RangeSet {
    SeqRange {
        lo: slice.lo,
        hi: slice.hi,
    }
    .into()
}

#[cfg(test)]
mod tests;
