//! The list of what is sealed in one partition: the only truth about it.

use std::{fs, io, path::Path};

use event::{PartitionId, RangeSet, Seq, SeqRange, Timestamp};
use retention::Class;
use serde::{Deserialize, Serialize};

use crate::{
    disk,
    error::{Error, Result},
    layout,
    remote::serial,
};

const VERSION: u32 = 1;

/// The sealed part of a partition. Unknown fields are ignored, so that a rollback starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    #[serde(with = "serial::partition")]
    pub partition: PartitionId,
    /// The first sequence that was ever taken here.
    pub first: Seq,
    /// Everything of `first..=sealed` is in `slices`, `expired` or `gaps`, or had no rows.
    pub sealed: Seq,
    /// Ascending by `lo`, then class.
    pub slices: Vec<Slice>,
    pub ids: Vec<IdFile>,
    #[serde(alias = "holes")]
    pub gaps: Vec<LostSlice>,
    /// Slices that were dropped because their age was over and the cold tier has them.
    pub expired: Vec<Expired>,
    /// Events of sealed ranges that were dropped as duplicates.
    pub duplicates: u64,
    /// Frames of sealed ranges that could not be read and lie in `dead/`.
    pub dead_letters: u64,
    /// Events that went with expired slices.
    pub expired_events: u64,
    /// How often a slice was removed, by age or by loss.
    pub removals: u64,
}

/// The rows of one class in one sealed range, as a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    pub lo: Seq,
    pub hi: Seq,
    #[serde(with = "serial::text")]
    pub class: Class,
    pub level: u8,
    pub file: String,
    pub rows: u64,
    /// Of content.
    pub bytes: u64,
    pub sum_crc: u64,
    pub received_min: i64,
    pub received_max: i64,
}

/// The event ids of a sealed range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdFile {
    pub lo: Seq,
    pub hi: Seq,
    pub file: String,
    pub received_max: i64,
}

/// A slice whose file is gone or damaged, and what it held; or, without a class, a range that the
/// log had dropped before it was read here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LostSlice {
    pub lo: Seq,
    pub hi: Seq,
    pub slice: Option<Slice>,
}

/// Where slices of a class were dropped by age.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expired {
    #[serde(with = "serial::text")]
    pub class: Class,
    #[serde(with = "serial::ranges")]
    pub ranges: Vec<SeqRange>,
}

impl Manifest {
    /// Of a partition that begins at `first`.
    #[must_use]
    pub fn new(partition: PartitionId, first: Seq) -> Self {
        Self {
            version: VERSION,
            partition,
            first,
            sealed: first.saturating_sub(1),
            slices: Vec::new(),
            ids: Vec::new(),
            gaps: Vec::new(),
            expired: Vec::new(),
            duplicates: 0,
            dead_letters: 0,
            expired_events: 0,
            removals: 0,
        }
    }

    /// `None` when there is none in `dir`.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(layout::MANIFEST);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(Error::file("read", &path))?,
        };
        let manifest: Self =
            serde_json::from_slice(&bytes).map_err(|error| Error::damaged(&path, error))?;
        if manifest.version != VERSION {
            let reason = format!("unknown format version {}", manifest.version);
            return Err(Error::damaged(path, reason));
        }
        Ok(Some(manifest))
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self).expect("a manifest always has a JSON form");
        disk::replace(&dir.join(layout::MANIFEST), &json)
    }

    /// Adds a sealed range: its slices, its ids, what was dropped from it.
    pub(crate) fn seal(&mut self, hi: Seq, slices: Vec<Slice>, ids: IdFile) {
        self.sealed = hi;
        self.slices.extend(slices);
        self.ids.push(ids);
        self.sort();
    }

    /// Puts `merged` in the place of `inputs`; `false` when one of them is no longer there.
    pub(crate) fn replace(&mut self, inputs: &[Slice], merged: Slice) -> bool {
        if !inputs.iter().all(|input| self.slices.contains(input)) {
            return false;
        }
        self.slices.retain(|slice| !inputs.contains(slice));
        self.slices.push(merged);
        self.sort();
        true
    }

    /// Drops `slice` because its age is over.
    pub(crate) fn expire(&mut self, slice: &Slice) {
        let before = self.slices.len();
        self.slices.retain(|own| own != slice);
        if self.slices.len() == before {
            return;
        }
        self.expired_events += slice.rows;
        self.removals += 1;
        let mut ranges: RangeSet = self.expired_of(slice.class);
        ranges.insert(slice.range());
        self.expired.retain(|expired| expired.class != slice.class);
        self.expired.push(Expired {
            class: slice.class,
            ranges: ranges.ranges().to_vec(),
        });
    }

    /// Notes that the file of `slice` is lost.
    pub(crate) fn lose(&mut self, slice: &Slice) {
        self.slices.retain(|own| own != slice);
        self.removals += 1;
        self.gaps.push(LostSlice {
            lo: slice.lo,
            hi: slice.hi,
            slice: Some(slice.clone()),
        });
    }

    /// Puts the rows of `lost` back as `slice`.
    pub(crate) fn refill(&mut self, lost: &LostSlice, slice: Slice) {
        self.gaps.retain(|gap| gap != lost);
        self.slices.push(slice);
        self.sort();
    }

    /// Where slices of `class` were dropped by age.
    #[must_use]
    pub fn expired_of(&self, class: Class) -> RangeSet {
        let of_class = self.expired.iter().filter(|own| own.class == class);
        of_class
            .flat_map(|own| own.ranges.iter().copied())
            .collect()
    }

    fn sort(&mut self) {
        self.slices.sort_by_key(|slice| (slice.lo, slice.class));
    }
}

impl Slice {
    #[must_use]
    pub fn range(&self) -> SeqRange {
        SeqRange {
            lo: self.lo,
            hi: self.hi,
        }
    }

    #[must_use]
    pub fn received_max(&self) -> Timestamp {
        Timestamp::from_micros(self.received_max)
    }

    #[must_use]
    pub fn received_min(&self) -> Timestamp {
        Timestamp::from_micros(self.received_min)
    }
}
