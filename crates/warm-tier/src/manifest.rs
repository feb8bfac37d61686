//! The manifest: the list of a partition's live slices, and the only truth of what is sealed.

use std::{fs, io, path::Path};

use event::{PartitionId, RangeSet, Seq, SeqRange, Timestamp};
use retention::Class;
use serde::{Deserialize, Serialize};

use crate::{
    disk,
    error::{Error, Result},
    layout, serial,
};

/// Version of the manifest's JSON format. A manifest with another version is refused.
const MANIFEST_FORMAT_VERSION: u32 = 1;

/// The manifest of a partition. Unknown fields are ignored, so that an older version can read a
/// manifest to which fields were added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    #[serde(with = "serial::partition")]
    pub partition: PartitionId,
    /// The first sequence that was ever stored here.
    pub first: Seq,
    /// Everything of `first..=sealed` is in `slices`, `expired` or `gaps`, or had no rows.
    pub sealed: Seq,
    /// Ascending by `lo`, then class.
    pub slices: Vec<Slice>,
    /// Ascending by `lo`; only of ranges sealed in the last 24 h.
    pub ids: Vec<IdFile>,
    /// The first sequence whose ids are not yet forgotten; `None` until the first ones are, in a
    /// manifest of an earlier version.
    #[serde(default)]
    pub ids_from: Option<Seq>,
    /// Slices and ranges that are lost here.
    #[serde(rename = "holes")] // the name in manifests before 0.2
    pub gaps: Vec<LostSlice>,
    /// Ranges of the slices that were dropped by age or over quota; the cold tier has them.
    pub expired: Vec<Expired>,
    /// Events of sealed ranges that were dropped as duplicates.
    pub duplicates: u64,
    /// Frames of sealed ranges that could not be decoded and became dead letters.
    pub dead_letters: u64,
    /// Rows of dropped slices.
    pub expired_events: u64,
    /// Number of slices that were removed: expired, over quota or lost.
    pub removals: u64,
}

/// The rows of one class in one sealed range, as a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    pub lo: Seq,
    pub hi: Seq,
    #[serde(with = "serial::text")]
    pub class: Class,
    /// Number of merges that made the slice; 0 right after a seal.
    pub level: u8,
    /// Name of the file in the partition's folder.
    pub file: String,
    pub rows: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Sum of the rows' crc32c.
    pub sum_crc: u64,
    /// Least `received_at` in microseconds.
    pub received_min: i64,
    /// Greatest `received_at` in microseconds.
    pub received_max: i64,
}

/// The file with the event ids of a sealed range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdFile {
    pub lo: Seq,
    pub hi: Seq,
    /// Name of the file in the partition's folder.
    pub file: String,
    /// Greatest `received_at` of the range in microseconds.
    pub received_max: i64,
}

/// A slice whose file is missing or damaged, with its manifest entry; or, without an entry, a range
/// that was purged from the log before it was read here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LostSlice {
    pub lo: Seq,
    pub hi: Seq,
    pub slice: Option<Slice>,
}

/// The ranges in which slices of a class were dropped by age or over quota.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expired {
    #[serde(with = "serial::text")]
    pub class: Class,
    #[serde(with = "serial::ranges")]
    pub ranges: Vec<SeqRange>,
}

impl Manifest {
    /// Creates the empty manifest of a partition that starts at `first`.
    #[must_use]
    pub fn new(partition: PartitionId, first: Seq) -> Self {
        Self {
            version: MANIFEST_FORMAT_VERSION,
            partition,
            first,
            sealed: first.saturating_sub(1),
            slices: Vec::new(),
            ids: Vec::new(),
            ids_from: Some(1),
            gaps: Vec::new(),
            expired: Vec::new(),
            duplicates: 0,
            dead_letters: 0,
            expired_events: 0,
            removals: 0,
        }
    }

    /// Reads the manifest in `dir`; `None` when there is none.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(layout::MANIFEST);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(Error::file("read", &path))?,
        };
        let manifest: Self =
            serde_json::from_slice(&bytes).map_err(|error| Error::damaged(&path, error))?;
        if manifest.version != MANIFEST_FORMAT_VERSION {
            let reason = format!("unknown format version {}", manifest.version);
            return Err(Error::damaged(path, reason));
        }
        Ok(Some(manifest))
    }

    /// Replaces the manifest in `dir`, durably.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self).expect("a manifest always has a JSON form");
        disk::replace(&dir.join(layout::MANIFEST), &json)
    }

    /// Adds a sealed range that ends at `hi`: its slices and its id file.
    pub(crate) fn seal(&mut self, hi: Seq, slices: Vec<Slice>, ids: IdFile) {
        self.sealed = hi;
        self.slices.extend(slices);
        self.ids.push(ids);
        self.sort();
    }

    /// Removes the id files `old`, whose ids are older than is promised.
    pub(crate) fn forget_ids(&mut self, old: &[IdFile]) {
        self.ids.retain(|ids| !old.contains(ids));
        let forgotten = old.iter().map(|ids| ids.hi + 1);
        self.ids_from = forgotten.chain(self.ids_from).max();
    }

    /// Removes the id file `lost`, whose ids must be recovered.
    pub(crate) fn lose_ids(&mut self, lost: &IdFile) {
        let first = self.ids.first().map(|ids| ids.lo);
        self.ids_from = self.ids_from.or(first);
        self.ids.retain(|ids| ids != lost);
    }

    /// The sealed ranges, and those before them, whose ids must be known and are in no id file.
    pub(crate) fn missing_ids(&self) -> RangeSet {
        let wanted = self
            .ids_from
            .and_then(|from| SeqRange::new(from, self.sealed));
        let wanted: RangeSet = wanted.into_iter().collect();
        let known = self
            .ids
            .iter()
            .filter_map(|ids| SeqRange::new(ids.lo, ids.hi));
        wanted.subtract(&known.collect())
    }

    /// The parts of `range` of which the slices have all stored rows.
    pub(crate) fn in_slices(&self, range: SeqRange) -> RangeSet {
        let mut absent: RangeSet = self
            .expired
            .iter()
            .flat_map(|own| own.ranges.clone())
            .collect();
        self.gaps
            .iter()
            .filter_map(|gap| SeqRange::new(gap.lo, gap.hi))
            .for_each(|gap| absent.insert(gap));
        let sealed = SeqRange::new(self.first, self.sealed);
        let stored = sealed.and_then(|sealed| sealed.intersect(&range));
        stored.into_iter().collect::<RangeSet>().subtract(&absent)
    }

    /// Replaces `inputs` by `merged`; `false` when one of them is no longer there.
    pub(crate) fn replace(&mut self, inputs: &[Slice], merged: Slice) -> bool {
        if !inputs.iter().all(|input| self.slices.contains(input)) {
            return false;
        }
        self.slices.retain(|slice| !inputs.contains(slice));
        self.slices.push(merged);
        self.sort();
        true
    }

    /// Drops `slice`, which is past its age or over a quota; no change when it is not there.
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

    /// Moves `slice`, whose file is lost, to the gaps; `false` when it was replaced or dropped meanwhile.
    pub(crate) fn lose(&mut self, slice: &Slice) -> bool {
        if !self.slices.contains(slice) {
            return false;
        }
        self.slices.retain(|own| own != slice);
        self.removals += 1;
        self.gaps.push(LostSlice {
            lo: slice.lo,
            hi: slice.hi,
            slice: Some(slice.clone()),
        });
        true
    }

    /// Replaces the gap `lost` by the refilled `slice`; without one, its rows are in slices that were
    /// refilled with it.
    pub(crate) fn refill(&mut self, lost: &LostSlice, slice: Option<Slice>) {
        self.gaps.retain(|gap| gap != lost);
        // Who has planned with the gap plans again.
        self.removals += 1;
        self.slices.extend(slice);
        self.sort();
    }

    /// The ranges in which slices of `class` were dropped by age or over quota.
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
    /// The range `lo..=hi`.
    #[must_use]
    pub fn range(&self) -> SeqRange {
        SeqRange {
            lo: self.lo,
            hi: self.hi,
        }
    }

    /// Greatest `received_at` of the rows.
    #[must_use]
    pub fn received_max(&self) -> Timestamp {
        Timestamp::from_micros(self.received_max)
    }

    /// Least `received_at` of the rows.
    #[must_use]
    pub fn received_min(&self) -> Timestamp {
        Timestamp::from_micros(self.received_min)
    }
}
