//! Seals the open segment into slices, one per retention class, in steps after each of which a crash
//! is safe: stage and sync → verify → rename, sync the folder → manifest → unlink the open file.
//!
//! Until the manifest names the new files, a restart removes them; from then on it removes the open
//! file.

use std::path::PathBuf;

use event::SeqRange;
use retention::RuleSet;

use crate::{
    classify, disk,
    engine::Engine,
    error::{Error, Result},
    ids_file, layout,
    manifest::{IdFile, Slice},
    open_segment::OpenSegment,
    sealed_partition::SealedPartition,
    slice_file::{self, SliceId, Sums},
};

/// A seal in progress. Its steps must be called in the order in which they are defined.
#[derive(Debug)]
pub(crate) struct Seal<'a> {
    engine: &'a Engine,
    sealed: &'a SealedPartition,
    open: &'a OpenSegment,
    range: SeqRange,
    slices: Vec<Slice>,
    ids: IdFile,
}

impl<'a> Seal<'a> {
    /// Begins a seal; `None` when the open segment is empty.
    pub(crate) fn new(
        engine: &'a Engine,
        sealed: &'a SealedPartition,
        open: &'a OpenSegment,
    ) -> Option<Self> {
        let range = open.range()?;
        let received_max = open.totals.received_max;
        Some(Self {
            engine,
            sealed,
            open,
            range,
            slices: Vec::new(),
            ids: IdFile {
                lo: range.lo,
                hi: range.hi,
                file: layout::ids_name(range),
                received_max: received_max.map_or(0, event::Timestamp::as_micros),
            },
        })
    }

    /// Writes and syncs every slice and the id file under temporary names.
    pub(crate) fn stage(&mut self, rules: &RuleSet) -> Result<()> {
        let connection = self.engine.connect()?;
        let events = format!("{}.events", self.open.alias);
        let mut rows_left = slice_file::sums(&connection, &events)?.map_or(0, |sums| sums.rows);
        for (class, source) in classify::by_class(&connection, &events, rules)? {
            let id = SliceId {
                partition: self.sealed.partition,
                range: self.range,
                class,
                level: 0,
            };
            let Some(sums) = slice_file::sums(&connection, &source)? else {
                continue;
            };
            rows_left = rows_left.saturating_sub(sums.rows);
            slice_file::write(&connection, &self.staged(&id.file()), &id, &source)?;
            self.slices.push(slice_file::entry(&id, id.file(), &sums));
        }
        if rows_left > 0 {
            return Err(Error::damaged(&self.open.path, "a row has no class"));
        }
        let path = self.staged(&self.ids.file);
        let dropped = format!("FROM {}.dropped", self.open.alias);
        ids_file::write(&connection, &path, &events, &dropped)
    }

    /// Reads the staged slices back and compares their sums with those of the open segment.
    pub(crate) fn verify(&self) -> Result<()> {
        for slice in &self.slices {
            slice_file::verify(self.engine, &self.staged(&slice.file), &slice.sums())?;
        }
        let connection = self.engine.connect()?;
        let all = slice_file::sums(&connection, &format!("{}.events", self.open.alias))?;
        let sum =
            |field: fn(&Sums) -> u64| self.slices.iter().map(|s| field(&s.sums())).sum::<u64>();
        let is_complete = all.map_or(self.slices.is_empty(), |all| {
            all.rows == sum(|s| s.rows) && all.sum_crc == sum(|s| s.sum_crc)
        });
        if is_complete {
            return Ok(());
        }
        let reason = "its slices do not add up to it";
        Err(Error::damaged(&self.open.path, reason))
    }

    /// Renames the staged files to their final names and syncs the folder.
    pub(crate) fn rename(&self) -> Result<()> {
        for file in self.files() {
            disk::rename(&self.staged(file), &self.sealed.dir.join(file))?;
        }
        disk::sync_dir(&self.sealed.dir)
    }

    /// Adds the slices to the manifest: from here on the range is sealed.
    pub(crate) fn publish(self) -> Result<SealOutcome> {
        let Self {
            range, slices, ids, ..
        } = self;
        let totals = self.open.totals;
        self.sealed.update_manifest(|manifest| {
            manifest.duplicates += totals.duplicates;
            manifest.dead_letters += totals.dead_letters;
            manifest.seal(range.hi, slices.clone(), ids.clone());
            true
        })?;
        Ok(SealOutcome { range, slices, ids })
    }

    fn files(&self) -> impl Iterator<Item = &str> {
        let slices = self.slices.iter().map(|slice| slice.file.as_str());
        slices.chain([self.ids.file.as_str()])
    }

    fn staged(&self, file: &str) -> PathBuf {
        layout::staged(&self.sealed.dir.join(file))
    }
}

/// The result of a seal: the sealed range and its slices.
#[derive(Clone, Debug)]
pub struct SealOutcome {
    pub range: SeqRange,
    pub slices: Vec<Slice>,
    pub(crate) ids: IdFile,
}

/// Closes and removes the file of a sealed open segment: the last step.
pub(crate) fn unlink(open: OpenSegment) -> Result<()> {
    let path = open.close()?;
    disk::remove(&path)
}

#[cfg(test)]
mod tests;
