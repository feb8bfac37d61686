//! The writer of one partition: appends, seals, and knows what is a duplicate.

use std::{path::Path, sync::Arc, time::Duration};

use event::{PartitionId, Seq, SeqRange, StoredEvent, Timestamp};
use retention::RuleSet;

use crate::{
    boot,
    dedupe::Dedupe,
    disk,
    engine::{self, Engine},
    error::{Error, Result},
    layout,
    manifest::LostSlice,
    open_segment::{self, Batch, Duplicate, OpenSegment},
    seal::{self, Seal, SealOutcome},
    sealed_partition::SealedPartition,
    slice_file::{self, LogAnchor},
    tier::WarmTier,
};

/// How long an event id is remembered.
const DEDUPE_AGE: Duration = Duration::from_secs(24 * 3600);

/// The one writer of a partition. Its methods block; after an error of [`Partition::append`] or
/// [`Partition::seal`] the process must start anew.
#[derive(Debug)]
pub struct Partition {
    pub(crate) engine: Engine,
    sealed: Arc<SealedPartition>,
    /// `None` only while a seal swaps it.
    open: Option<OpenSegment>,
    dedupe: Dedupe,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Appended {
    pub stored: u64,
    pub bytes: u64,
    pub dropped: Vec<Duplicate>,
}

/// Frames of the log, read and checked.
#[derive(Debug)]
pub struct Frames {
    /// Without a gap.
    pub range: SeqRange,
    /// In log order.
    pub events: Vec<StoredEvent>,
    /// Frames that could not be read, as they came. They are kept as files.
    pub dead_letters: Vec<(Seq, bytes::Bytes)>,
    /// Bytes of canonical events.
    pub encoded_bytes: u64,
}

/// How full the open segment is.
#[derive(Clone, Copy, Debug)]
pub struct OpenState {
    pub events: u64,
    /// Of content.
    pub bytes: u64,
    pub encoded_bytes: u64,
    pub duplicates: u64,
    pub oldest: Option<Timestamp>,
    /// On disk.
    pub file_bytes: u64,
    /// Whether it has taken anything, be it without events.
    pub is_empty: bool,
}

impl Partition {
    pub(crate) fn open(
        tier: &WarmTier,
        dir: &Path,
        partition: PartitionId,
        first: Seq,
    ) -> Result<Self> {
        let spill = layout::spill_dir(&tier.options.data);
        let engine = tier.writer.clone();
        let sealed = boot::sealed(dir, partition, first, &spill)?;
        let open = boot::open_segment(&engine, &sealed, &spill)?;
        sealed.commit(open.next - 1, &open.dropped(sealed.manifest().sealed)?);
        boot::id_files(&engine, &sealed, &spill)?;
        let ids = sealed.manifest().ids;
        let dedupe = Dedupe::load(&engine, dir, &ids, &open, tier.options.dedupe_memory)?;
        Ok(Self {
            engine,
            sealed: Arc::new(sealed),
            open: Some(open),
            dedupe,
        })
    }

    #[must_use]
    pub fn sealed(&self) -> Arc<SealedPartition> {
        Arc::clone(&self.sealed)
    }

    #[must_use]
    pub fn id(&self) -> PartitionId {
        self.sealed.partition
    }

    /// The sequence that the next batch must start with.
    #[must_use]
    pub fn next_seq(&self) -> Seq {
        self.segment().next
    }

    #[must_use]
    pub fn open_state(&self) -> OpenState {
        let open = self.segment();
        let totals = open.totals;
        OpenState {
            events: totals.events,
            bytes: totals.bytes,
            encoded_bytes: totals.encoded_bytes,
            duplicates: totals.duplicates,
            oldest: totals.oldest,
            file_bytes: disk::bytes(&open.path),
            is_empty: open.range().is_none(),
        }
    }

    /// The last event that is open or, when none is, one of the last sealed; `None` when there is
    /// none.
    pub fn newest(&self) -> Result<Option<LogAnchor>> {
        let open = self.segment();
        let connection = self.engine.connect()?;
        if let Some(mark) = slice_file::newest(&connection, &open.alias, self.id())? {
            return Ok(Some(mark));
        }
        let (_, files) = self.sealed.snapshot();
        let last = files.iter().filter(|file| file.slice.rows > 0);
        let Some(last) = last.max_by_key(|file| file.slice.hi) else {
            return Ok(None);
        };
        let alias = slice_file::alias("newest");
        engine::attach_read_only(&connection, &self.sealed.dir.join(&last.slice.file), &alias)?;
        let mark = slice_file::newest(&connection, &alias, self.id());
        engine::detach(&connection, &alias)?;
        mark
    }

    /// Stores what of `frames` is new, durably, together with how far it is.
    pub fn append(&mut self, frames: Frames) -> Result<Appended> {
        for (seq, payload) in &frames.dead_letters {
            self.keep_dead_letter(*seq, payload)?;
        }
        let (fresh, dropped) = self.dedupe.split(frames.events)?;
        let open = self.open.as_mut().expect("a segment is always open");
        open.append(&Batch {
            range: frames.range,
            events: &fresh,
            dropped: &dropped,
            dead_letters: frames.dead_letters.len() as u64,
            encoded_bytes: frames.encoded_bytes,
        })?;
        self.sealed.commit(frames.range.hi, &dropped);
        Ok(Appended {
            stored: fresh.len() as u64,
            bytes: fresh.iter().map(|e| e.event.content.len() as u64).sum(),
            dropped,
        })
    }

    fn keep_dead_letter(&self, seq: Seq, payload: &[u8]) -> Result<()> {
        let path = layout::dead_letter(&self.sealed.dir, seq);
        disk::create_dir(path.parent().expect("a file lies in a folder"))?;
        disk::replace(&path, payload)
    }

    /// Everything of the last 24 h that was dropped behind `after`, by position: to tell the hot
    /// tier again after it has lost its memory.
    pub fn dropped_after(&self, after: Seq) -> Result<Vec<Duplicate>> {
        let mut dropped = Vec::new();
        let connection = self.engine.connect()?;
        for ids in self.sealed.manifest().ids {
            if ids.hi > after {
                let alias = slice_file::alias("dropped");
                engine::attach_read_only(&connection, &self.sealed.dir.join(&ids.file), &alias)?;
                let rows = open_segment::dropped(&connection, &alias, after);
                engine::detach(&connection, &alias)?;
                dropped.extend(rows?);
            }
        }
        dropped.extend(self.segment().dropped(after)?);
        Ok(dropped)
    }

    /// Seals what is open, by the classes that `rules` make, and opens the next segment. `None`
    /// when there is nothing to seal.
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
        self.reopen(sealed.range.hi + 1)?;
        Ok(Some(sealed))
    }

    fn reopen(&mut self, lo: Seq) -> Result<()> {
        let old = self.open.take().expect("a segment is always open");
        seal::unlink(old)?;
        let open = OpenSegment::open(&self.engine, &self.sealed.dir, self.sealed.partition, lo)?;
        self.open = Some(open);
        Ok(())
    }

    /// Goes on at `first`, because the log no longer has what lies before. What is missing becomes
    /// a gap. The open segment must be empty: seal it first.
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
        self.sealed.change(|manifest| {
            manifest.gaps.push(LostSlice {
                lo: missing.lo,
                hi: missing.hi,
                slice: None,
            });
            manifest.sealed = missing.hi;
            true
        })?;
        self.sealed.commit(missing.hi, &[]);
        self.reopen(first)
    }

    /// Forgets the ids of ranges that are older than 24 h.
    pub fn forget_ids(&mut self, now: Timestamp) -> Result<()> {
        let limit = now.minus(DEDUPE_AGE).as_micros();
        let old = |received_max: i64| received_max < limit;
        let manifest = self.sealed.manifest();
        let gone: Vec<_> = (manifest.ids.into_iter())
            .filter(|ids| old(ids.received_max))
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        self.sealed.change(|manifest| {
            manifest.ids.retain(|ids| !gone.contains(ids));
            true
        })?;
        self.dedupe.retain(&self.sealed.manifest().ids);
        for ids in gone {
            disk::remove(&self.sealed.dir.join(&ids.file))?;
        }
        Ok(())
    }

    pub(crate) fn segment(&self) -> &OpenSegment {
        self.open.as_ref().expect("a segment is always open")
    }
}
