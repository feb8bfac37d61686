//! The sealed part of one partition: the manifest, and slice files that are unlinked when no reader
//! holds them any more.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use event::{PartitionId, RangeSet, Seq, Timestamp};

use crate::{
    coverage::{Gap, PartitionCoverage, SliceCoverage, UnsealedCoverage},
    disk,
    duplicates::{Duplicate, Duplicates},
    error::{Error, Result},
    layout,
    manifest::{Manifest, Slice},
};

/// A handle of a slice file. Once the manifest no longer names the file, it is unlinked when the
/// last handle is dropped; after a crash in between the next start removes it.
#[derive(Debug)]
pub struct SliceFile {
    pub path: PathBuf,
    pub slice: Slice,
    disk_bytes: u64,
    delete_on_drop: AtomicBool,
}

impl Drop for SliceFile {
    fn drop(&mut self) {
        if !self.delete_on_drop.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = disk::remove(&self.path) {
            tracing::warn!(error = %error, "cannot remove the file of a dropped slice, the next start will");
        }
    }
}

/// The sealed part of one partition, shared by its writer, the readers and the maintenance.
#[derive(Debug)]
pub struct SealedPartition {
    pub partition: PartitionId,
    /// The partition's folder.
    pub dir: PathBuf,
    /// Its range ends at the last committed sequence.
    duplicates: Mutex<Duplicates>,
    state: Mutex<SealedState>,
}

/// Totals over the sealed part of a partition.
#[derive(Clone, Copy, Debug)]
pub struct SealedTotals {
    /// Everything up to here is sealed.
    pub sealed: Seq,
    pub events: u64,
    pub disk_bytes: u64,
    /// Least `received_at`.
    pub oldest: Option<Timestamp>,
}

/// The manifest with one handle for each slice that it names.
#[derive(Debug)]
struct SealedState {
    manifest: Manifest,
    /// By file name.
    files: BTreeMap<String, Arc<SliceFile>>,
}

impl SealedPartition {
    pub(crate) fn new(dir: &Path, manifest: Manifest) -> Self {
        let mut state = SealedState {
            files: BTreeMap::new(),
            manifest: Manifest::new(manifest.partition, manifest.first),
        };
        let (partition, sealed) = (manifest.partition, manifest.sealed);
        state.apply(dir, manifest);
        Self {
            partition,
            dir: dir.to_owned(),
            duplicates: Mutex::new(Duplicates::new(sealed, sealed)),
            state: Mutex::new(state),
        }
    }

    /// The current manifest and a handle of each of its slices, in its order. The files stay on disk
    /// as long as their handles are held.
    #[must_use]
    pub fn snapshot(&self) -> (Manifest, Vec<Arc<SliceFile>>) {
        let state = self.lock();
        let files = state.manifest.slices.iter();
        let files = files.map(|slice| Arc::clone(&state.files[&slice.file]));
        (state.manifest.clone(), files.collect())
    }

    /// A copy of the current manifest.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        self.lock().manifest.clone()
    }

    /// Writes the changed manifest durably, then publishes it. When `change` returns `false`, nothing
    /// is written or published; returns what `change` returned.
    pub(crate) fn update_manifest(
        &self,
        change: impl FnOnce(&mut Manifest) -> bool,
    ) -> Result<bool> {
        let mut state = self.lock();
        let mut manifest = state.manifest.clone();
        if !change(&mut manifest) {
            return Ok(false);
        }
        manifest.write(&self.dir)?;
        state.apply(&self.dir, manifest);
        Ok(true)
    }

    /// Moves the damaged file of `slice` to the quarantine and the slice to the gaps.
    pub(crate) fn quarantine(&self, slice: &Slice, reason: &Error) -> Result<()> {
        if !self.lock().manifest.slices.contains(slice) {
            return Ok(());
        }
        tracing::error!(
            partition = %self.partition,
            file = slice.file,
            error = %reason,
            "slice is damaged and goes into quarantine"
        );
        move_to_quarantine(&self.dir, &slice.file)?;
        self.update_manifest(|manifest| manifest.lose(slice))?;
        Ok(())
    }

    /// The last sequence that is committed here.
    #[must_use]
    pub fn committed(&self) -> Seq {
        self.lock_duplicates().through
    }

    /// Sets the last committed sequence, with the duplicates `dropped` since the one before.
    pub(crate) fn set_committed(&self, through: Seq, dropped: &[Duplicate]) {
        self.lock_duplicates().extend(through, dropped);
    }

    /// Removes the duplicates up to `seq`: readers read sealed slices there, which have none.
    pub(crate) fn forget_duplicates(&self, seq: Seq) {
        self.lock_duplicates().forget(seq);
    }

    /// The duplicates after `after`, for a reader.
    pub(crate) fn duplicates(&self, after: Seq) -> Duplicates {
        self.lock_duplicates().since(after)
    }

    fn lock_duplicates(&self) -> MutexGuard<'_, Duplicates> {
        self.duplicates
            .lock()
            .expect("nothing panics while it holds this")
    }

    /// The totals over the sealed part.
    #[must_use]
    pub fn totals(&self) -> SealedTotals {
        let state = self.lock();
        let slices = &state.manifest.slices;
        SealedTotals {
            sealed: state.manifest.sealed,
            events: slices.iter().map(|slice| slice.rows).sum(),
            disk_bytes: state.files.values().map(|file| file.disk_bytes).sum(),
            oldest: slices.iter().map(Slice::received_min).min(),
        }
    }

    /// The coverage of the partition now.
    #[must_use]
    pub fn coverage(&self) -> PartitionCoverage {
        let manifest = self.manifest();
        let slices = manifest.slices.iter().map(|slice| SliceCoverage {
            lo: slice.lo,
            hi: slice.hi,
            class: slice.class,
            level: slice.level,
            rows: slice.rows,
            bytes: slice.bytes,
            received_min: Some(slice.received_min()),
            received_max: Some(slice.received_max()),
        });
        let gaps = manifest.gaps.iter().map(|gap| Gap {
            lo: gap.lo,
            hi: gap.hi,
            class: gap.slice.as_ref().map(|slice| slice.class),
        });
        let expired = manifest.expired.iter().flat_map(|expired| &expired.ranges);
        let dropped: RangeSet = expired.copied().collect();
        PartitionCoverage {
            dropped: dropped.ranges().to_vec(),
            partition: self.partition,
            first: manifest.first,
            sealed: manifest.sealed,
            committed: self.committed().max(manifest.sealed),
            unsealed: UnsealedCoverage::default(),
            removals: manifest.removals,
            slices: slices.collect(),
            gaps: gaps.collect(),
            duplicates: manifest.duplicates,
            expired_events: manifest.expired_events,
            dead_letters: manifest.dead_letters,
        }
    }

    fn lock(&self) -> MutexGuard<'_, SealedState> {
        self.state
            .lock()
            .expect("nothing panics while it holds this")
    }
}

impl SealedState {
    /// Replaces the manifest: opens handles of new slices, and marks the files of those that it no
    /// longer names for deletion.
    fn apply(&mut self, dir: &Path, manifest: Manifest) {
        for slice in &manifest.slices {
            self.files.entry(slice.file.clone()).or_insert_with(|| {
                let path = dir.join(&slice.file);
                Arc::new(SliceFile {
                    disk_bytes: disk::bytes(&path),
                    path,
                    slice: slice.clone(),
                    delete_on_drop: AtomicBool::new(false),
                })
            });
        }
        let live: Vec<&str> = manifest.slices.iter().map(|s| s.file.as_str()).collect();
        self.files.retain(|name, file| {
            let is_live = live.contains(&name.as_str());
            if !is_live {
                file.delete_on_drop.store(true, Ordering::Release);
            }
            is_live
        });
        self.manifest = manifest;
    }
}

/// Moves `file` of the partition folder `dir`, and its write-ahead log, into the quarantine, if they
/// exist.
pub(crate) fn move_to_quarantine(dir: &Path, file: &str) -> Result<()> {
    let quarantine = layout::quarantine_dir(dir);
    disk::create_dir(&quarantine)?;
    for name in [file.to_owned(), format!("{file}.wal")] {
        if dir.join(&name).exists() {
            disk::rename(&dir.join(&name), &quarantine.join(&name))?;
        }
    }
    disk::sync_dir(dir)
}
