//! The proof that the cold tier has what warm is about to drop: its objects exist as their log entries
//! say, and their rows are those of warm.

use std::collections::{BTreeMap, BTreeSet};

use cold_tier::{ColdFile, ColdTier, TableSnapshot};
use event::{PartitionId, RangeSet, Seq, Timestamp};
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
    /// The live files do not have all rows of the slice.
    #[error("cold has {cold} rows where warm has {warm}")]
    RowsMissing { cold: u64, warm: u64 },
    /// The rows of cold and warm could not be compared.
    #[error("the rows of cold and warm cannot be compared: {reason}")]
    Uncompared { reason: String },
}

/// What the log entries and the objects of the cold tier say of a slice.
#[derive(Debug)]
pub(crate) enum Proof {
    /// Cold has its rows, or need not have them.
    Proven,
    /// It must stay.
    Doubted(Vec<Doubt>),
    /// Only the rows of these files can say.
    Unclear(Vec<ColdFile>),
}

/// Slices of which cold does not have all rows, by partition and file name, with the version of the table that
/// was read.
#[derive(Debug, Default)]
pub(crate) struct MissingRows(BTreeMap<(PartitionId, String), (Option<u64>, Doubt)>);

impl MissingRows {
    /// The doubt about `slice`, if its rows were missing in this `version` of the table.
    pub(crate) fn known(
        &self,
        partition: PartitionId,
        slice: &Slice,
        version: Option<u64>,
    ) -> Option<&Doubt> {
        let (read, doubt) = self.0.get(&(partition, slice.file.clone()))?;
        (*read == version).then_some(doubt)
    }

    /// Notes `doubt`, if it is that rows are missing; any other may be gone the next time.
    pub(crate) fn note(
        &mut self,
        partition: PartitionId,
        slice: &Slice,
        version: Option<u64>,
        doubt: &Doubt,
    ) {
        if matches!(doubt, Doubt::RowsMissing { .. }) {
            let key = (partition, slice.file.clone());
            self.0.insert(key, (version, doubt.clone()));
        }
    }
}

/// The slices of one round that are due and stay, and why.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) slices: i64,
    pub(crate) doubts: BTreeSet<Doubt>,
    pub(crate) missing: MissingRows,
}

impl ColdView {
    pub(crate) fn committed(&self, partition: PartitionId) -> Seq {
        self.events.committed(partition)
    }

    /// Says whether cold has the rows of `slice`, one of `slices` of `partition`, without reading them.
    pub(crate) async fn prove(
        &self,
        partition: PartitionId,
        slice: &Slice,
        slices: &[Slice],
        rules: &RuleSet,
    ) -> Proof {
        let files: Vec<&ColdFile> = self.events.files().collect();
        let of_slice = files_of(&files, partition, slice);
        let doubts = self.damage(&of_slice).await;
        if !doubts.is_empty() {
            return Proof::Doubted(doubts);
        }
        if !is_comparable(&files, &of_slice, slice, rules)
            || totals_agree(&files, partition, slice, slices)
        {
            return Proof::Proven;
        }
        // The rows may be of another class there: the rules have changed since.
        let all = in_range(&files, partition, &slice.range().into());
        Proof::Unclear(all.into_iter().cloned().collect())
    }

    /// The doubts about the objects of `files`.
    async fn damage(&self, files: &[&ColdFile]) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        for file in files {
            if let Err(error) = self.tier.check_object(file).await {
                doubts.push(Doubt::of_file(file, &error));
            }
        }
        doubts
    }
}

impl Doubt {
    /// The doubt because rows could not be compared.
    pub(crate) fn uncompared(error: anyhow::Error) -> Self {
        let reason = format!("{error:#}");
        Self::Uncompared { reason }
    }

    /// The doubt because of an `error` of `file`.
    pub(crate) fn of_file(file: &ColdFile, error: &cold_tier::Error) -> Self {
        let reason = error.to_string();
        match error.is_damage() {
            true => Self::Damaged {
                path: file.path.clone(),
                reason,
            },
            false => Self::Unavailable { reason },
        }
    }
}

/// The files that should have the rows of `slice`: those of its class or, if these do not have all of its
/// range, those of every class.
fn files_of<'a>(
    files: &[&'a ColdFile],
    partition: PartitionId,
    slice: &Slice,
) -> Vec<&'a ColdFile> {
    let range = RangeSet::from(slice.range());
    let all = in_range(files, partition, &range);
    let own: Vec<_> = all
        .iter()
        .copied()
        .filter(|file| is_of(file, slice))
        .collect();
    let mut covered = RangeSet::new();
    for file in &own {
        covered.extend(ranges_of(file, partition));
    }
    match range.subtract(&covered).is_empty() {
        true => own,
        false => all,
    }
}

/// Whether cold must have each row of `slice`: not where the rules may have removed some, and not where another
/// engine wrote.
fn is_comparable(
    files: &[&ColdFile],
    of_slice: &[&ColdFile],
    slice: &Slice,
    rules: &RuleSet,
) -> bool {
    let is_sampled = |file: &&ColdFile| {
        let provenance = file.provenance.as_ref();
        provenance.is_some_and(|own| own.sampled.is_some())
    };
    rules.archives(slice.class)
        && !rules.in_force().any(|own| removes_rows(own.cold.as_ref()))
        && files.iter().all(|file| file.provenance.is_some())
        && !of_slice.iter().any(is_sampled)
}

/// Whether the files of the class of `slice` have as many rows as the slices of this class. All are counted that
/// share a range with the slice, directly or through others. It says nothing where warm does not have all of the
/// files' ranges: rows that warm has not could stand for some that cold has not.
fn totals_agree(
    files: &[&ColdFile],
    partition: PartitionId,
    slice: &Slice,
    slices: &[Slice],
) -> bool {
    let own_files = files.iter().copied().filter(|file| is_of(file, slice));
    let own_files: Vec<_> = own_files.collect();
    let own_slices = slices.iter().filter(|own| own.class == slice.class);
    let own_slices: Vec<_> = own_slices.collect();
    let mut shared = RangeSet::from(slice.range());
    loop {
        let found = in_range(&own_files, partition, &shared);
        let with = own_slices
            .iter()
            .filter(|own| !shared.intersect(own.range()).is_empty());
        let with: Vec<_> = with.collect();
        let mut grown = shared.clone();
        found
            .iter()
            .for_each(|file| grown.extend(ranges_of(file, partition)));
        grown.extend(with.iter().map(|own| own.range()));
        if grown == shared {
            let in_warm: RangeSet = with.iter().map(|own| own.range()).collect();
            let cold: u64 = found.iter().map(|file| file.rows).sum();
            let warm: u64 = with.iter().map(|own| own.rows).sum();
            return cold == warm && shared.subtract(&in_warm).is_empty();
        }
        shared = grown;
    }
}

fn removes_rows(cold: Option<&Cold>) -> bool {
    cold.is_some_and(|cold| cold.sampling.is_some() || cold.max_age_ms.is_some())
}

fn is_of(file: &ColdFile, slice: &Slice) -> bool {
    let provenance = file.provenance.as_ref();
    provenance.is_some_and(|own| own.class == Some(slice.class))
}

/// Those of `files` that may have rows of `partition` in `ranges`.
fn in_range<'a>(
    files: &[&'a ColdFile],
    partition: PartitionId,
    ranges: &RangeSet,
) -> Vec<&'a ColdFile> {
    let is_in = |file: &&ColdFile| {
        let own = ranges_of(file, partition);
        own.ranges()
            .iter()
            .any(|range| !ranges.intersect(*range).is_empty())
    };
    files.iter().copied().filter(is_in).collect()
}

fn ranges_of(file: &ColdFile, partition: PartitionId) -> RangeSet {
    let ranges = file.provenance.iter().flat_map(|own| &own.ranges);
    let own = ranges.filter(|(of, _)| *of == partition);
    own.map(|(_, range)| *range).collect()
}

#[cfg(test)]
mod tests;
