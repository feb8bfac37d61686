//! The ranges that the warm tier has, from which readers plan.

use event::{PartitionId, RangeSet, Seq, SeqRange, Timestamp};
use retention::Class;
use serde::{Deserialize, Serialize};

use crate::serial;

/// The coverage of every partition of one compactor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// The id of the compactor's store; `None` from versions before 0.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// Ascending by partition.
    pub partitions: Vec<PartitionCoverage>,
}

/// The coverage of one partition. Everything of `first..=committed` can be read. What is sealed is in
/// `slices`, or was dropped because the cold tier has it, or is in `gaps`. A class that has no slice for a
/// range has no rows there in warm; the cold tier may have some (dropped here by age).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionCoverage {
    #[serde(with = "serial::partition")]
    pub partition: PartitionId,
    /// The first sequence that this compactor ever stored; only the cold tier has earlier ones.
    pub first: Seq,
    /// Everything up to here is sealed; `first - 1` when nothing is.
    pub sealed: Seq,
    /// Everything up to here was read from the log, and is checked for duplicates. What lies after `sealed`
    /// is in memory: after a restart this starts at `sealed` again.
    pub committed: Seq,
    /// What lies after `sealed`; empty from a compactor of an earlier version.
    #[serde(default)]
    pub unsealed: UnsealedCoverage,
    /// Incremented whenever a slice is removed (expired, over quota or lost). A scan carries the
    /// value that it was planned with.
    pub removals: u64,
    /// Ranges in which slices of some class expired: the cold tier has their rows, and warm may
    /// still have those of other classes.
    #[serde(default, with = "serial::ranges")]
    pub dropped: Vec<SeqRange>,
    /// Ascending by `lo`; slices of different classes share ranges, slices of one class do not.
    pub slices: Vec<SliceCoverage>,
    /// Ranges that are missing here although they should be there.
    #[serde(rename = "holes")] // the name in answers before 0.2
    pub gaps: Vec<Gap>,
    /// Events of `first..=sealed` that were dropped as duplicates.
    #[serde(default)]
    pub duplicates: u64,
    /// Events of `first..=sealed` that were removed with expired slices.
    #[serde(default)]
    pub expired_events: u64,
    /// Frames of `first..=sealed` that could not be decoded.
    #[serde(default)]
    pub dead_letters: u64,
}

/// A sealed slice: every row of its class whose sequence is in `lo..=hi`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliceCoverage {
    pub lo: Seq,
    pub hi: Seq,
    #[serde(with = "serial::text")]
    pub class: Class,
    /// Number of merges that made the slice; 0 right after a seal.
    pub level: u8,
    pub rows: u64,
    /// Bytes of content.
    pub bytes: u64,
    #[serde(with = "serial::time")]
    pub received_min: Option<Timestamp>,
    #[serde(with = "serial::time")]
    pub received_max: Option<Timestamp>,
}

/// The events of a partition that are not sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UnsealedCoverage {
    pub rows: u64,
    /// Bytes of memory.
    pub bytes: u64,
    #[serde(default, with = "serial::time")]
    pub received_min: Option<Timestamp>,
}

/// A range that was lost here: the rows of `class`, or of every class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    pub lo: Seq,
    pub hi: Seq,
    #[serde(default, with = "serial::text_option")]
    pub class: Option<Class>,
}

impl Coverage {
    /// Finds the coverage of `partition`.
    #[must_use]
    pub fn partition(&self, partition: PartitionId) -> Option<&PartitionCoverage> {
        self.partitions
            .iter()
            .find(|coverage| coverage.partition == partition)
    }
}

impl PartitionCoverage {
    /// The range `first..=sealed`; `None` when nothing is sealed.
    #[must_use]
    pub fn sealed_range(&self) -> Option<SeqRange> {
        SeqRange::new(self.first, self.sealed)
    }

    /// The range `first..=committed`, which scans of all classes answer; `None` when it is empty.
    #[must_use]
    pub fn readable_range(&self) -> Option<SeqRange> {
        SeqRange::new(self.first, self.committed)
    }

    /// The ranges that warm answers for `class`: rows of this class there must not be read from
    /// cold too.
    #[must_use]
    pub fn ranges_of(&self, class: Class) -> RangeSet {
        let of_class = self.slices.iter().filter(|slice| slice.class == class);
        of_class.map(SliceCoverage::range).collect()
    }

    /// The ranges of all gaps, whatever their class.
    #[must_use]
    pub fn gap_ranges(&self) -> RangeSet {
        let ranges = self.gaps.iter();
        ranges
            .filter_map(|gap| SeqRange::new(gap.lo, gap.hi))
            .collect()
    }
}

impl SliceCoverage {
    /// The range `lo..=hi`.
    #[must_use]
    pub fn range(&self) -> SeqRange {
        SeqRange {
            lo: self.lo,
            hi: self.hi,
        }
    }
}
