//! The writer of one partition: drops duplicates, appends, seals.

mod id_recovery;

use std::{sync::Arc, time::Duration};

use event::{PartitionId, Seq, SeqRange, Timestamp};
use retention::RuleSet;

use crate::{
    batch::Batch,
    dedupe::Dedupe,
    disk,
    duplicates::Duplicate,
    engine::Engine,
    error::{Error, Result},
    frames::{Appended, Frames},
    layout,
    manifest::LostSlice,
    open_segment::{self, OpenSegment},
    options::Options,
    recovery,
    seal::{self, Seal, SealOutcome},
    sealed_partition::SealedPartition,
    slice_file::{self, LogAnchor},
};

pub use id_recovery::{ID_RECOVERY_COLUMNS, RecoveredRows};

/// Age up to which event ids are kept: the README promises producers that they may retry for 24 hours.
pub const DEDUPE_AGE: Duration = Duration::from_secs(24 * 3600);

/// The only writer of a partition. Its methods block. After an error of [`Partition::append`] or
/// [`Partition::seal`] the process must be restarted.
#[derive(Debug)]
pub struct Partition {
    pub(crate) engine: Engine,
    sealed: Arc<SealedPartition>,
    /// `None` only while a seal replaces it.
    open: Option<OpenSegment>,
    dedupe: Dedupe,
}

/// The size of the open segment.
#[derive(Clone, Copy, Debug)]
pub struct OpenState {
    pub events: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Bytes of canonical events.
    pub encoded_bytes: u64,
    pub duplicates: u64,
    /// Least `received_at`.
    pub oldest: Option<Timestamp>,
    /// Bytes on disk.
    pub file_bytes: u64,
    /// `true` while it covers no sequence. A batch without events covers its range too.
    pub is_empty: bool,
}

impl Partition {
    /// Recovers the partition's files and opens it; a new one starts at `first`.
    pub(crate) fn open(
        engine: Engine,
        options: &Options,
        partition: PartitionId,
        first: Seq,
    ) -> Result<Self> {
        let dir = layout::partition_dir(&options.data, partition);
        let spill = layout::spill_dir(&options.data);
        let sealed = recovery::recover_sealed(&dir, partition, first, &spill)?;
        let open = recovery::recover_open_segment(&engine, &sealed, &spill)?;
        sealed.set_committed(open.next - 1, &open.dropped(sealed.manifest().sealed)?);
        recovery::recover_id_files(&sealed, &spill)?;
        let ids = sealed.manifest().ids;
        let dedupe = Dedupe::load(&engine, &dir, &ids, &open, options.dedupe_memory)?;
        Ok(Self {
            engine,
            sealed: Arc::new(sealed),
            open: Some(open),
            dedupe,
        })
    }

    /// The sealed part, which readers and the maintenance share.
    #[must_use]
    pub fn sealed(&self) -> Arc<SealedPartition> {
        Arc::clone(&self.sealed)
    }

    /// The id of the partition.
    #[must_use]
    pub fn id(&self) -> PartitionId {
        self.sealed.partition
    }

    /// The sequence that the next batch must start with.
    #[must_use]
    pub fn next_seq(&self) -> Seq {
        self.segment().next
    }

    /// The size of the open segment now.
    #[must_use]
    pub fn open_state(&self) -> OpenState {
        let open = self.segment();
        let totals = open.totals;
        OpenState {
            events: totals.events,
            bytes: totals.bytes,
            encoded_bytes: totals.encoded_bytes,
            duplicates: totals.duplicates,
            oldest: totals.received_min,
            file_bytes: disk::bytes(&open.path),
            is_empty: open.range().is_none(),
        }
    }

    /// The log anchor of the partition: the last event of the open segment or, when that is empty, of
    /// one of the slices sealed last. `None` when the partition has no events.
    ///
    /// # Errors
    /// [`Error::Database`] when a file cannot be read: stop the process.
    pub fn log_anchor(&self) -> Result<Option<LogAnchor>> {
        let open = self.segment();
        let connection = self.engine.connect()?;
        if let Some(anchor) = slice_file::last_event(&connection, &open.alias, self.id())? {
            return Ok(Some(anchor));
        }
        let (_, files) = self.sealed.snapshot();
        let last = files.iter().filter(|file| file.slice.rows > 0);
        let Some(last) = last.max_by_key(|file| file.slice.hi) else {
            return Ok(None);
        };
        let path = self.sealed.dir.join(&last.slice.file);
        slice_file::with_attached(&connection, &path, |alias| {
            slice_file::last_event(&connection, alias, self.id())
        })
    }

    /// Appends the new events of `frames` durably, in one transaction with the offset. When DuckDB's memory
    /// does not suffice, in smaller ones; `refused` of the result says why the rest is not stored.
    ///
    /// # Errors
    /// [`Error::Gap`] when the frames do not continue the open segment, [`Error::Database`],
    /// [`Error::Damaged`] or [`Error::File`] when a file fails. Restart the process and append again
    /// from [`Partition::next_seq`].
    pub fn append(&mut self, frames: Frames) -> Result<Appended> {
        let before = frames.range.lo - 1;
        let (mut fresh, mut dropped) = match self.dedupe.split(frames.events) {
            Err(error) if error.is_out_of_memory() => {
                return Ok(Appended::refused(before, error));
            }
            split => split?,
        };
        let open = self.open.as_mut().expect("a segment is always open");
        let appended = open.append_in_parts(&Batch {
            range: frames.range,
            events: &fresh,
            dropped: &dropped,
            dead_letters: &frames.dead_letters,
            encoded_bytes: frames.encoded_bytes,
        });
        let (through, refused) = match appended {
            Err(error) if error.is_out_of_memory() => (open.next - 1, Some(error)),
            appended => (appended.map(|()| frames.range.hi)?, None),
        };
        let stored = fresh.partition_point(|event| event.position.seq <= through);
        self.dedupe.forget(&fresh.split_off(stored));
        dropped.retain(|duplicate| duplicate.seq <= through);
        if through > before {
            self.sealed.set_committed(through, &dropped);
        }
        Ok(Appended {
            stored: fresh.len() as u64,
            bytes: fresh.iter().map(|e| e.event.content.len() as u64).sum(),
            dropped,
            through,
            refused,
        })
    }

    /// Reads the duplicates of the last 24 h after `after`, ascending by position. Needed when the hot
    /// tier has lost its data and must be sent them again.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Rows`] when a file cannot be read: restart the process.
    pub fn dropped_after(&self, after: Seq) -> Result<Vec<Duplicate>> {
        let mut dropped = Vec::new();
        let connection = self.engine.connect()?;
        for ids in self.sealed.manifest().ids {
            if ids.hi > after {
                let path = self.sealed.dir.join(&ids.file);
                dropped.extend(slice_file::with_attached(&connection, &path, |alias| {
                    open_segment::dropped(&connection, alias, after)
                })?);
            }
        }
        dropped.extend(self.segment().dropped(after)?);
        Ok(dropped)
    }

    /// Seals the open segment into one slice for each retention class by `rules`, and opens the next
    /// segment. `None` when the open segment is empty.
    ///
    /// # Errors
    /// One that [is of memory](Error::is_out_of_memory) changes nothing: try again. [`Error::Damaged`] when
    /// the slices differ from the open segment, [`Error::Database`] or [`Error::File`] when a file fails:
    /// restart the process, which finds the segment open or sealed.
    pub fn seal(&mut self, rules: &RuleSet) -> Result<Option<SealOutcome>> {
        let Some(mut seal) = Seal::new(&self.engine, &self.sealed, self.segment()) else {
            return Ok(None);
        };
        seal.stage(rules)?;
        seal.verify()?;
        seal.rename()?;
        let sealed_before = self.sealed.manifest().sealed;
        let sealed = seal.publish()?;
        self.sealed.forget_duplicates(sealed_before);
        self.dedupe.seal(sealed.ids.clone());
        // The range is sealed: an error from here on is none after which nothing has changed.
        let reopened = self.reopen(sealed.range.hi + 1);
        reopened.map_err(|error| Error::damaged(&self.sealed.dir, error))?;
        Ok(Some(sealed))
    }

    fn reopen(&mut self, lo: Seq) -> Result<()> {
        let old = self.open.take().expect("a segment is always open");
        seal::unlink(old)?;
        let open = OpenSegment::open(&self.engine, &self.sealed.dir, self.sealed.partition, lo)?;
        self.open = Some(open);
        Ok(())
    }

    /// Continues at `first`, because the log no longer has the sequences before it, which become a
    /// gap. The open segment must be empty: seal it first.
    ///
    /// # Errors
    /// [`Error::Gap`] when the open segment is not empty, [`Error::Database`] or [`Error::File`] when
    /// a file fails: restart the process.
    pub fn skip_to(&mut self, first: Seq) -> Result<()> {
        let next = self.next_seq();
        if !self.open_state().is_empty {
            let found = first;
            let (partition, expected) = (self.id(), next);
            return Err(Error::Gap {
                partition,
                expected,
                found,
            });
        }
        let Some(missing) = SeqRange::new(next, first.saturating_sub(1)) else {
            return Ok(());
        };
        self.sealed.update_manifest(|manifest| {
            manifest.gaps.push(LostSlice {
                lo: missing.lo,
                hi: missing.hi,
                slice: None,
            });
            manifest.sealed = missing.hi;
            true
        })?;
        self.sealed.set_committed(missing.hi, &[]);
        self.reopen(first)
    }

    /// Removes the ids of the oldest ranges, as far as they are older than 24 h, counted back from `now` or
    /// from the newest event that was read, if that is earlier: a retry may still wait in the log.
    ///
    /// # Errors
    /// [`Error::File`] when the manifest cannot be written or an id file cannot be removed: restart
    /// the process, which removes what the manifest no longer names.
    pub fn forget_ids(&mut self, now: Timestamp) -> Result<()> {
        let newest = self.segment().totals.received_max;
        let limit = newest.map_or(now, |newest| newest.min(now));
        let limit = limit.minus(DEDUPE_AGE).as_micros();
        let manifest = self.sealed.manifest();
        let old: Vec<_> = (manifest.ids.into_iter())
            .take_while(|ids| ids.received_max < limit)
            .collect();
        if old.is_empty() {
            return Ok(());
        }
        self.sealed.update_manifest(|manifest| {
            manifest.forget_ids(&old);
            true
        })?;
        self.dedupe.retain(&self.sealed.manifest().ids);
        for ids in old {
            disk::remove(&self.sealed.dir.join(&ids.file))?;
        }
        Ok(())
    }

    /// The open segment.
    pub(crate) fn segment(&self) -> &OpenSegment {
        self.open.as_ref().expect("a segment is always open")
    }
}

#[cfg(test)]
mod tests;
