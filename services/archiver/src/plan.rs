//! Plans the steps of a run: ranges to archive, files to rewrite, files to merge. Pure: decides
//! from the state of the tiers, the rules and a time.

mod step;

use std::{collections::BTreeMap, time::Duration};

use cold_tier::{ColdFile, Table};
use event::{PartitionId, RangeSet, Seq, SeqRange, Timestamp};
use retention::{Class, Policy, RuleSet};
use warm_tier::remote::PartitionCoverage;

pub(crate) use self::step::{ArchiveStep, Committed, next_step};

/// Fewer files of one kind are not worth a merge.
const MIN_FILES_TO_MERGE: usize = 8;
/// Upper bounds of the sizes of files that are merged with each other. Merging files of similar
/// size rewrites every byte only a few times; the last level is the largest file that is written.
const MERGE_LEVEL_BYTES: [u64; 3] = [1 << 20, 16 << 20, 128 << 20];

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

/// The rewrites for which the rows of a file must be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DueRewrites {
    pub(crate) expiry: bool,
    pub(crate) sampling: bool,
}

/// Returns the rewrites that `file` may be due for: by the ages of its class while the rules still
/// produce that class, else by the shortest ages of any rule. Which rows go is decided row by row.
pub(crate) fn due_rewrites(file: &ColdFile, rules: &RuleSet, now: Timestamp) -> DueRewrites {
    let nothing = DueRewrites {
        expiry: false,
        sampling: false,
    };
    let Some(provenance) = &file.provenance else {
        return nothing;
    };
    let Some(class) = provenance.class else {
        return nothing;
    };
    let age = now.since(provenance.received_max);
    let is_current = classes_of(rules).any(|current| current == class);
    let expiry_age = match is_current {
        true => class
            .cold_max_age()
            .map(|cold| cold.max(class.warm_max_age())),
        false => shortest_expiry_age(rules),
    };
    let warm_age = match is_current {
        true => class.warm_max_age(),
        false => shortest_warm_age(rules),
    };
    let samples = rules.in_force().any(has_sampling);
    DueRewrites {
        expiry: expiry_age.is_some_and(|limit| age > limit),
        sampling: samples && provenance.sampled.is_none() && age > warm_age,
    }
}

fn has_sampling(policy: &Policy) -> bool {
    let cold = policy.cold.as_ref();
    cold.is_some_and(|cold| cold.sampling.is_some())
}

/// The classes that the rules can produce: one for each pair of a warm and a cold rule.
fn classes_of(rules: &RuleSet) -> impl Iterator<Item = Class> {
    let warm = rules.in_force().filter_map(|p| p.warm.as_ref());
    warm.flat_map(|warm| {
        let cold = rules.in_force().filter_map(|p| p.cold.as_ref());
        cold.map(move |cold| Class::new(warm, cold))
    })
}

fn shortest_warm_age(rules: &RuleSet) -> Duration {
    let ages = rules.in_force().filter_map(|p| p.warm.as_ref());
    ages.map(retention::Warm::max_age).min().unwrap_or_default()
}

fn shortest_expiry_age(rules: &RuleSet) -> Option<Duration> {
    let ages = classes_of(rules).filter_map(|class| {
        let cold = class.cold_max_age()?;
        Some(cold.max(class.warm_max_age()))
    });
    ages.min()
}

/// The attributes that files must share to be rewritten into one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileKind {
    pub(crate) table: Table,
    pub(crate) partition: PartitionId,
    pub(crate) tenant: Option<String>,
    pub(crate) dt: Option<String>,
    pub(crate) class: Option<Class>,
    pub(crate) sampled: Option<String>,
}

/// Returns the kind of `file`; `None` for a file that another engine wrote.
pub(crate) fn kind(file: &ColdFile) -> Option<FileKind> {
    let provenance = file.provenance.as_ref()?;
    Some(FileKind {
        table: file.table,
        partition: provenance.ranges.first()?.0,
        tenant: file.tenant.clone(),
        dt: file.dt.clone(),
        class: provenance.class,
        sampled: provenance.sampled.clone(),
    })
}

/// Returns the lists of small files to merge, each into one file of at most 128 MB.
pub(crate) fn merges<'a>(files: impl IntoIterator<Item = &'a ColdFile>) -> Vec<Vec<ColdFile>> {
    let mut groups: BTreeMap<(FileKind, usize), Vec<ColdFile>> = BTreeMap::new();
    for file in files {
        let level = MERGE_LEVEL_BYTES
            .iter()
            .position(|limit| file.bytes < *limit);
        if let (Some(kind), Some(level)) = (kind(file), level) {
            groups.entry((kind, level)).or_default().push(file.clone());
        }
    }
    let mut merges = Vec::new();
    for mut files in groups.into_values() {
        files.sort_by_key(first_seq);
        let mut merge = Vec::new();
        let mut bytes = 0;
        for file in files {
            if bytes + file.bytes > MERGE_LEVEL_BYTES[2] {
                push_if_enough_files(&mut merges, std::mem::take(&mut merge));
                bytes = 0;
            }
            bytes += file.bytes;
            merge.push(file);
        }
        push_if_enough_files(&mut merges, merge);
    }
    merges
}

fn push_if_enough_files(merges: &mut Vec<Vec<ColdFile>>, merge: Vec<ColdFile>) {
    if merge.len() >= MIN_FILES_TO_MERGE {
        merges.push(merge);
    }
}

fn first_seq(file: &ColdFile) -> Seq {
    let ranges = file.provenance.iter().flat_map(|p| &p.ranges);
    ranges.map(|(_, range)| range.lo).min().unwrap_or(0)
}

/// Returns the ranges of several files by partition, adjacent ones merged.
pub(crate) fn merged_ranges(files: &[ColdFile]) -> Vec<(PartitionId, SeqRange)> {
    let mut sets: BTreeMap<PartitionId, RangeSet> = BTreeMap::new();
    for file in files {
        for (partition, range) in file.provenance.iter().flat_map(|p| &p.ranges) {
            sets.entry(*partition).or_default().insert(*range);
        }
    }
    let ranges = sets.iter().flat_map(|(partition, set)| {
        let ranges = set.ranges().iter();
        ranges.map(move |range| (*partition, *range))
    });
    ranges.collect()
}

#[cfg(test)]
mod tests;
