//! The writer of one partition: drops duplicates, appends, and lets seals run beside.

mod id_recovery;

use std::{sync::Arc, time::Duration};

use event::{PartitionId, Seq, SeqRange, Timestamp};
use retention::RuleSet;

use crate::{
    dedupe::Dedupe,
    disk,
    duplicates::Duplicate,
    engine::Engine,
    error::{Error, Result},
    frames::{Appended, Frames},
    ids_file, layout,
    log_end::{self, LogAnchor, LogEnd},
    manifest::LostSlice,
    options::Options,
    recovery,
    seal::{SealOutcome, SealTask},
    sealed_partition::SealedPartition,
    slice_file,
    unsealed::{OpenState, Unsealed},
};

pub use id_recovery::{ID_RECOVERY_COLUMNS, RecoveredRows};

/// Age up to which event ids are kept: the README promises producers that they may retry for 24 hours.
pub const DEDUPE_AGE: Duration = Duration::from_secs(24 * 3600);

/// The only writer of a partition. Its methods block. What is not sealed is in memory only: after a restart
/// the log is read again from [`Partition::next_seq`].
#[derive(Debug)]
pub struct Partition {
    pub(crate) engine: Engine,
    sealed: Arc<SealedPartition>,
    unsealed: Arc<Unsealed>,
    dedupe: Dedupe,
    /// What the note of the log's end says.
    noted: LogEnd,
}

impl Partition {
    /// Recovers the partition's files; a new one starts at `first`.
    pub(crate) fn open(
        engine: Engine,
        options: &Options,
        partition: PartitionId,
        first: Seq,
    ) -> Result<Self> {
        let dir = layout::partition_dir(&options.data, partition);
        let spill = layout::spill_dir(&options.data);
        let sealed = recovery::recover_sealed(&dir, partition, first, &spill)?;
        recovery::recover_id_files(&sealed, &spill)?;
        let manifest = sealed.manifest();
        let dedupe = Dedupe::load(&engine, &dir, &manifest.ids, options.dedupe_memory)?;
        Ok(Self {
            engine,
            sealed: Arc::new(sealed),
            unsealed: Arc::new(Unsealed::new(partition, manifest.sealed + 1)),
            dedupe,
            noted: log_end::read(&dir, partition).unwrap_or_default(),
        })
    }

    /// The sealed part, which readers and the maintenance share.
    #[must_use]
    pub fn sealed(&self) -> Arc<SealedPartition> {
        Arc::clone(&self.sealed)
    }

    /// What is not sealed, which readers share.
    pub(crate) fn unsealed(&self) -> Arc<Unsealed> {
        Arc::clone(&self.unsealed)
    }

    /// The id of the partition.
    #[must_use]
    pub fn id(&self) -> PartitionId {
        self.sealed.partition
    }

    /// The sequence that the next frames must start with.
    #[must_use]
    pub fn next_seq(&self) -> Seq {
        self.unsealed.next()
    }

    /// The size of what is not sealed now.
    #[must_use]
    pub fn open_state(&self) -> OpenState {
        self.unsealed.state()
    }

    /// The end of the log as it was read before, here or before a restart.
    ///
    /// # Errors
    /// [`Error::Database`] when a file cannot be read: stop the process.
    pub fn log_end(&self) -> Result<LogEnd> {
        let read = LogEnd {
            through: self.next_seq() - 1,
            anchor: self.unsealed.last_event(),
        };
        if read.anchor.is_some() {
            return Ok(read);
        }
        if self.noted.through >= read.through && self.noted.anchor.is_some() {
            return Ok(self.noted);
        }
        let anchor = self.last_sealed_event()?;
        Ok(LogEnd { anchor, ..read })
    }

    fn last_sealed_event(&self) -> Result<Option<LogAnchor>> {
        let (_, files) = self.sealed.snapshot();
        let last = files.iter().filter(|file| file.slice.rows > 0);
        let Some(last) = last.max_by_key(|file| file.slice.hi) else {
            return Ok(None);
        };
        let connection = self.engine.connect()?;
        slice_file::with_attached(&connection, &last.path, |alias| {
            slice_file::last_event(&connection, alias, self.id())
        })
    }

    /// Notes how far the log was read, for a restart.
    ///
    /// # Errors
    /// [`Error::File`] when the note cannot be written: only the check of the log at the next start is
    /// weaker then.
    pub fn note_log_end(&mut self) -> Result<()> {
        let end = LogEnd {
            through: self.next_seq() - 1,
            anchor: self.unsealed.last_event().or(self.noted.anchor),
        };
        if end != self.noted {
            log_end::write(&self.sealed.dir, &end)?;
            self.noted = end;
        }
        Ok(())
    }

    /// Appends the new events of `frames` to the open part.
    ///
    /// # Errors
    /// [`Error::Gap`] when the frames do not continue the open part. One that [is of
    /// memory](Error::is_out_of_memory) when the id files cannot be read for lack of it. Both change
    /// nothing: append again from [`Partition::next_seq`]. [`Error::Database`], [`Error::Damaged`] or
    /// [`Error::File`] when an id file cannot be read: restart the process.
    pub fn append(&mut self, mut frames: Frames) -> Result<Appended> {
        let range = frames.range;
        if range.lo != self.next_seq() {
            return Err(Error::Gap {
                partition: self.id(),
                expected: self.next_seq(),
                found: range.lo,
            });
        }
        let (fresh, dropped) = self.dedupe.split(frames.events)?;
        let (stored, contents) = (
            fresh.len() as u64,
            fresh.iter().map(|e| e.event.content.len()),
        );
        let bytes = contents.sum::<usize>() as u64;
        frames.events = fresh;
        self.unsealed.append(frames, &dropped);
        self.sealed.set_committed(range.hi, &dropped);
        Ok(Appended {
            stored,
            bytes,
            dropped,
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
        let manifest = self.sealed.manifest();
        for ids in manifest.ids.iter().filter(|ids| ids.hi > after) {
            let path = self.sealed.dir.join(&ids.file);
            dropped.extend(ids_file::dropped(&connection, &path, after)?);
        }
        dropped.extend(self.unsealed.dropped_after(manifest.sealed, after));
        Ok(dropped)
    }

    /// Ends the open part and returns the task that seals it, beside which the next part takes frames. When
    /// the seal before is not [finished](Partition::finish_seal), its task again. `None` when there is
    /// nothing to seal.
    pub fn start_seal(&mut self) -> Option<SealTask> {
        if self.unsealed.end_part().is_some() {
            self.dedupe.start_seal();
        }
        Some(SealTask {
            engine: self.engine.clone(),
            sealed: Arc::clone(&self.sealed),
            part: self.unsealed.sealing()?,
        })
    }

    /// Takes note of a seal that is done, and forgets ids that are too old by `now`, the log's time.
    ///
    /// # Errors
    /// [`Error::File`] when the manifest cannot be written or an old id file cannot be removed: restart
    /// the process, which removes what the manifest no longer names.
    pub fn finish_seal(&mut self, sealed: &SealOutcome, now: Option<Timestamp>) -> Result<()> {
        let part = self.unsealed.finish_seal().expect("a seal was started");
        // Of the range itself they stay: a reader may have planned before the seal.
        self.sealed.forget_duplicates(sealed.range.lo - 1);
        self.dedupe.finish_seal(sealed.ids.clone());
        let newest = part.totals().received_max;
        now.map_or(Ok(()), |now| {
            self.forget_ids(newest.map_or(now, |newest| newest.min(now)))
        })
    }

    /// Seals the open part at once. `None` when it is empty.
    ///
    /// # Errors
    /// Those of [`SealTask::run`].
    pub fn seal(&mut self, rules: &RuleSet) -> Result<Option<SealOutcome>> {
        let Some(task) = self.start_seal() else {
            return Ok(None);
        };
        let sealed = task.run(rules)?;
        self.finish_seal(&sealed, None)?;
        Ok(Some(sealed))
    }

    /// Continues at `first`, because the log no longer has the sequences before it, which become a
    /// gap. Nothing must be unsealed.
    ///
    /// # Errors
    /// [`Error::Gap`] when something is unsealed, [`Error::File`] when the manifest cannot be written:
    /// restart the process.
    pub fn skip_to(&mut self, first: Seq) -> Result<()> {
        let next = self.next_seq();
        if next != self.sealed.manifest().sealed + 1 {
            let (partition, expected, found) = (self.id(), next, first);
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
        self.unsealed.skip_to(first);
        Ok(())
    }

    /// Removes the ids of the oldest ranges, as far as they are older than 24 h before `newest`.
    ///
    /// # Errors
    /// [`Error::File`] when the manifest cannot be written or an id file cannot be removed: restart
    /// the process, which removes what the manifest no longer names.
    pub fn forget_ids(&mut self, newest: Timestamp) -> Result<()> {
        let limit = newest.minus(DEDUPE_AGE).as_micros();
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
}
