//! Turns the open segment into slices, one per retention class, in steps that may each be the
//! last: stage and sync → verify → rename, sync the folder → manifest → unlink the open file.
//!
//! Until the manifest names them the new files are nothing; from then on the open file is.

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

/// A seal under way. The steps are called in the order in which they stand here.
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
    /// `None` when the open segment has taken nothing.
    pub(crate) fn new(
        engine: &'a Engine,
        sealed: &'a SealedPartition,
        open: &'a OpenSegment,
    ) -> Option<Self> {
        let range = open.range()?;
        let newest = open.totals.newest;
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
                received_max: newest.map_or(0, event::Timestamp::as_micros),
            },
        })
    }

    /// Writes and syncs every slice and the ids, under names that say that they are not ready.
    pub(crate) fn stage(&mut self, rules: &RuleSet) -> Result<()> {
        let connection = self.engine.connect()?;
        let events = format!("{}.events", self.open.alias);
        let mut left = slice_file::sums(&connection, &events)?.map_or(0, |sums| sums.rows);
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
            left = left.saturating_sub(sums.rows);
            slice_file::write(&connection, &self.staged(&id.file()), &id, &source)?;
            self.slices.push(slice_file::entry(&id, id.file(), &sums));
        }
        if left > 0 {
            return Err(Error::damaged(&self.open.path, "a row has no class"));
        }
        let path = self.staged(&self.ids.file);
        ids_file::write(&connection, &path, &events, Some(&self.open.alias))
    }

    /// Reads everything back and compares it with what the open segment holds.
    pub(crate) fn verify(&self) -> Result<()> {
        for slice in &self.slices {
            slice_file::verify(self.engine, &self.staged(&slice.file), &slice.sums())?;
        }
        let connection = self.engine.connect()?;
        let all = slice_file::sums(&connection, &format!("{}.events", self.open.alias))?;
        let sum = |of: fn(&Sums) -> u64| self.slices.iter().map(|s| of(&s.sums())).sum::<u64>();
        let all_is_there = all.map_or(self.slices.is_empty(), |all| {
            all.rows == sum(|s| s.rows) && all.sum_crc == sum(|s| s.sum_crc)
        });
        if all_is_there {
            return Ok(());
        }
        let reason = "its slices do not add up to it";
        Err(Error::damaged(&self.open.path, reason))
    }

    /// Gives the files their names.
    pub(crate) fn rename(&self) -> Result<()> {
        for file in self.files() {
            disk::rename(&self.staged(file), &self.sealed.dir.join(file))?;
        }
        disk::sync_dir(&self.sealed.dir)
    }

    /// Makes it true.
    pub(crate) fn publish(self) -> Result<SealOutcome> {
        let Self {
            range, slices, ids, ..
        } = self;
        let totals = self.open.totals;
        self.sealed.change(|manifest| {
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

/// A sealed range.
#[derive(Clone, Debug)]
pub struct SealOutcome {
    pub range: SeqRange,
    pub slices: Vec<Slice>,
    pub(crate) ids: IdFile,
}

/// The last step: the open file is nothing any more.
pub(crate) fn unlink(open: OpenSegment) -> Result<()> {
    let path = open.close()?;
    disk::remove(&path)
}

#[cfg(test)]
mod tests;
