//! The proof that the cold tier has what warm is about to drop: its objects exist as their log entries
//! say, and they were made of the rows of warm. What is missing there must be what rules have removed.

mod files;

use std::collections::{BTreeMap, BTreeSet};

use cold_tier::{ColdFile, ColdTier, TableSnapshot};
use event::{PartitionId, Seq, Timestamp};
use retention::RuleSet;
use warm_tier::{RowsMissing, Slice, Thinned};

use self::files::{files_of, may_have, origins_agree, thinned};

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
    /// No live file has these rows of the slice, and no rule has removed them.
    #[error(
        "cold has not {missing} of the {rows} rows of {slice} of {partition}, and no rule has removed them"
    )]
    RowsMissing {
        partition: PartitionId,
        slice: String,
        missing: u64,
        rows: u64,
    },
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
    Unclear(Candidates),
}

/// The files that may have the rows of a slice.
#[derive(Debug)]
pub(crate) struct Candidates {
    pub(crate) files: Vec<ColdFile>,
    /// Those of them that rules have removed rows from.
    pub(crate) thinned: Vec<Thinned>,
}

/// What the missing rows of a slice were found by. While it is the same, they need not be looked for again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundBy {
    /// The version of the table.
    pub(crate) version: Option<u64>,
    /// The hash of the rules.
    pub(crate) rules: String,
}

/// Slices of which cold does not have all rows, by partition and file name.
#[derive(Debug, Default)]
pub(crate) struct MissingRows(BTreeMap<(PartitionId, String), (FoundBy, RowsMissing)>);

impl MissingRows {
    /// The rows of `slice` that are missing, if nothing has changed since they were found, `now` included:
    /// they may be absent when they are past their age.
    pub(crate) fn known(
        &self,
        partition: PartitionId,
        slice: &Slice,
        by: &FoundBy,
        now: Timestamp,
    ) -> Option<RowsMissing> {
        let (found_by, missing) = self.0.get(&(partition, slice.file.clone()))?;
        let may_be_absent = missing.until.is_some_and(|until| now > until);
        (found_by == by && !may_be_absent).then_some(*missing)
    }

    /// Notes the rows of `slice` that are missing.
    pub(crate) fn note(
        &mut self,
        partition: PartitionId,
        slice: &Slice,
        by: FoundBy,
        missing: RowsMissing,
    ) {
        self.0
            .insert((partition, slice.file.clone()), (by, missing));
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
        if !rules.archives(slice.class) {
            return Proof::Proven;
        }
        let files: Vec<&ColdFile> = self.events.files().collect();
        let of_slice = files_of(&files, partition, slice);
        let doubts = self.damage(&of_slice).await;
        if !doubts.is_empty() {
            return Proof::Doubted(doubts);
        }
        if origins_agree(&files, partition, slice, slices) {
            return Proof::Proven;
        }
        // The rows may be of another class there: the rules have changed since.
        let candidates = files.iter().filter(|file| may_have(file, partition, slice));
        Proof::Unclear(Candidates {
            files: candidates.copied().cloned().collect(),
            thinned: thinned(&of_slice, partition, slice),
        })
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

    /// The doubt because `missing` rows of `slice` are.
    pub(crate) fn rows_missing(
        partition: PartitionId,
        slice: &Slice,
        missing: RowsMissing,
    ) -> Self {
        Self::RowsMissing {
            partition,
            slice: slice.file.clone(),
            missing: missing.rows,
            rows: slice.rows,
        }
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

#[cfg(test)]
mod tests;
