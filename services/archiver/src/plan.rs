//! What to do next: pure, from what is there, the rules and a time.

use std::{collections::BTreeMap, time::Duration};

use cold_tier::{ColdFile, Table};
use event::{PartitionId, RangeSet, Seq, SeqRange, Timestamp};
use retention::{Class, Policy, RuleSet};
use warm_tier::remote::PartitionCoverage;

/// Content bytes in one commit. A single slice may be larger; it goes alone.
pub(crate) const MAX_COMMIT_BYTES: u64 = 64 * 1024 * 1024;
/// So many small files of one kind are joined into one.
const JOIN_FILES: usize = 8;
/// A file grows through these sizes: joining like with like moves every byte few times.
const JOIN_LEVELS: [u64; 3] = [1 << 20, 16 << 20, 128 << 20];

/// How far the cold tables are in one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) hourly_stats: Seq,
    pub(crate) conversation_summary: Seq,
    pub(crate) events: Seq,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Everything that is sealed is in cold.
    Nothing,
    Archive(SeqRange),
    /// Not now, and why.
    Blocked(String),
}

/// The next range to archive: behind what is committed, whole slices, without a gap.
pub(crate) fn next_range(committed: Committed, warm: &PartitionCoverage) -> Next {
    let lo = match committed.events {
        // A new cold tier begins where this warm tier begins.
        0 => warm.first,
        events => events + 1,
    };
    if lo > warm.sealed {
        return Next::Nothing;
    }
    if lo < warm.first {
        return Next::Blocked(format!(
            "{lo}-{} are in neither tier: warm begins at {}",
            warm.first - 1,
            warm.first
        ));
    }
    // Somebody died between the commits of one range: that very range comes first.
    let begun = committed.hourly_stats.max(committed.conversation_summary);
    let hi = if begun >= lo { begun } else { cut(lo, warm) };
    let range = SeqRange { lo, hi };
    if hi > warm.sealed {
        return Next::Blocked(format!("{range} was begun and is not sealed here yet"));
    }
    // Warm drops only what its own cold tier has: this one is another, and would stay without it.
    let dropped: RangeSet = warm.dropped.iter().copied().collect();
    if let Some(gone) = dropped.intersect(range).ranges().first() {
        return Next::Blocked(format!(
            "{gone} has left warm for another cold tier; is --cold-url the compactor's?"
        ));
    }
    let gaps = warm.gap_ranges().intersect(range);
    match gaps.ranges().first() {
        None => Next::Archive(range),
        Some(gap) if begun >= lo || gap.lo <= lo => {
            Next::Blocked(format!("{gap} is lost in warm until it is refilled"))
        }
        Some(gap) => Next::Archive(SeqRange { lo, hi: gap.lo - 1 }),
    }
}

/// The last end of a slice up to which the slices behind `lo` fit into one commit.
fn cut(lo: Seq, warm: &PartitionCoverage) -> Seq {
    let mut bytes_to: BTreeMap<Seq, u64> = BTreeMap::new();
    for slice in warm.slices.iter().filter(|slice| slice.hi >= lo) {
        *bytes_to.entry(slice.hi.min(warm.sealed)).or_default() += slice.bytes;
    }
    let mut bytes = 0;
    let mut last = None;
    for (hi, more) in bytes_to {
        bytes += more;
        if bytes > MAX_COMMIT_BYTES && last.is_some() {
            return last.unwrap_or(warm.sealed);
        }
        last = Some(hi);
    }
    // What no slice holds any more (all of it was dropped, or there were no events) costs nothing.
    warm.sealed
}

/// The rows that `class` must have in `range`, when whole slices say so.
pub(crate) fn expected_rows(
    warm: &PartitionCoverage,
    class: Class,
    range: SeqRange,
) -> Option<u64> {
    let slices = warm.slices.iter().filter(|slice| slice.class == class);
    let touching: Vec<_> = slices
        .filter(|slice| slice.range().intersect(&range).is_some())
        .collect();
    let whole = touching
        .iter()
        .all(|slice| range.contains(slice.lo) && range.contains(slice.hi));
    whole.then(|| touching.iter().map(|slice| slice.rows).sum())
}

/// The classes with rows in `range`.
pub(crate) fn classes(warm: &PartitionCoverage, range: SeqRange) -> Vec<Class> {
    let slices = warm.slices.iter();
    let touching = slices.filter(|slice| slice.range().intersect(&range).is_some());
    let mut classes: Vec<_> = touching.map(|slice| slice.class).collect();
    classes.sort();
    classes.dedup();
    classes
}

/// Whether the rows of `file` must be looked at: by its class while the rules still make that
/// class, else by the shortest age that any rule has. The rows themselves decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) expiry: bool,
    pub(crate) sampling: bool,
}

pub(crate) fn due(file: &ColdFile, rules: &RuleSet, now: Timestamp) -> Due {
    let nothing = Due {
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
    let known = producible(rules).any(|own| own == class);
    let ends = match known {
        true => class
            .cold_max_age()
            .map(|cold| cold.max(class.warm_max_age())),
        false => shortest_end(rules),
    };
    let leaves_warm = match known {
        true => class.warm_max_age(),
        false => shortest_warm(rules),
    };
    let samples = rules.in_force().any(samples);
    Due {
        expiry: ends.is_some_and(|ends| age > ends),
        sampling: samples && provenance.sampled.is_none() && age > leaves_warm,
    }
}

fn samples(policy: &Policy) -> bool {
    let cold = policy.cold.as_ref();
    cold.is_some_and(|cold| cold.sampling.is_some())
}

/// Every class that some pair of the rules makes.
fn producible(rules: &RuleSet) -> impl Iterator<Item = Class> {
    let warm = rules.in_force().filter_map(|p| p.warm.as_ref());
    warm.flat_map(|warm| {
        let cold = rules.in_force().filter_map(|p| p.cold.as_ref());
        cold.map(move |cold| Class::new(warm, cold))
    })
}

fn shortest_warm(rules: &RuleSet) -> Duration {
    let ages = rules.in_force().filter_map(|p| p.warm.as_ref());
    ages.map(retention::Warm::max_age).min().unwrap_or_default()
}

fn shortest_end(rules: &RuleSet) -> Option<Duration> {
    let ends = producible(rules).filter_map(|class| {
        let cold = class.cold_max_age()?;
        Some(cold.max(class.warm_max_age()))
    });
    ends.min()
}

/// What files must share to become one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) table: Table,
    pub(crate) partition: PartitionId,
    pub(crate) tenant: Option<String>,
    pub(crate) dt: Option<String>,
    pub(crate) class: Option<Class>,
    pub(crate) sampled: Option<String>,
}

/// `None` for a file that another engine wrote.
pub(crate) fn kind(file: &ColdFile) -> Option<Kind> {
    let provenance = file.provenance.as_ref()?;
    Some(Kind {
        table: file.table,
        partition: provenance.ranges.first()?.0,
        tenant: file.tenant.clone(),
        dt: file.dt.clone(),
        class: provenance.class,
        sampled: provenance.sampled.clone(),
    })
}

/// Small files to join, each list into one file of at most 128 MB.
pub(crate) fn joins<'a>(files: impl IntoIterator<Item = &'a ColdFile>) -> Vec<Vec<ColdFile>> {
    let mut alike: BTreeMap<(Kind, usize), Vec<ColdFile>> = BTreeMap::new();
    for file in files {
        let level = JOIN_LEVELS.iter().position(|limit| file.bytes < *limit);
        if let (Some(kind), Some(level)) = (kind(file), level) {
            alike.entry((kind, level)).or_default().push(file.clone());
        }
    }
    let mut joins = Vec::new();
    for mut files in alike.into_values() {
        files.sort_by_key(first_seq);
        let mut join = Vec::new();
        let mut bytes = 0;
        for file in files {
            if bytes + file.bytes > JOIN_LEVELS[2] {
                keep_join(&mut joins, std::mem::take(&mut join));
                bytes = 0;
            }
            bytes += file.bytes;
            join.push(file);
        }
        keep_join(&mut joins, join);
    }
    joins
}

fn keep_join(joins: &mut Vec<Vec<ColdFile>>, join: Vec<ColdFile>) {
    if join.len() >= JOIN_FILES {
        joins.push(join);
    }
}

fn first_seq(file: &ColdFile) -> Seq {
    let ranges = file.provenance.iter().flat_map(|own| &own.ranges);
    ranges.map(|(_, range)| range.lo).min().unwrap_or(0)
}

/// The ranges of several files of one partition, neighbours joined.
pub(crate) fn joined_ranges(files: &[ColdFile]) -> Vec<(PartitionId, SeqRange)> {
    let mut of: BTreeMap<PartitionId, RangeSet> = BTreeMap::new();
    for file in files {
        for (partition, range) in file.provenance.iter().flat_map(|own| &own.ranges) {
            of.entry(*partition).or_default().insert(*range);
        }
    }
    let ranges = of.iter().flat_map(|(partition, set)| {
        let ranges = set.ranges().iter();
        ranges.map(move |range| (*partition, *range))
    });
    ranges.collect()
}

#[cfg(test)]
mod tests;
