//! The sealed part of one partition: the manifest, and files that go when nobody reads them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use event::{PartitionId, RangeSet, Seq, Timestamp};

use crate::{
    disk,
    error::{Error, Result},
    layout,
    manifest::{Manifest, Slice},
    open_segment::Duplicate,
    remote::{Duplicates, Gap, PartitionCoverage, SliceCoverage},
};

/// A sealed file. Once the manifest no longer names it, it is unlinked when the last holder lets
/// go; after a crash in between the next start finds it unnamed and removes it.
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
            tracing::warn!(error = %error, "a dropped slice stays until the next start");
        }
    }
}

/// The sealed part of one partition. Shared by its writer, the readers and the maintenance.
#[derive(Debug)]
pub struct SealedPartition {
    pub partition: PartitionId,
    pub dir: PathBuf,
    /// Reaches up to what is committed.
    duplicates: Mutex<Duplicates>,
    asked: Mutex<Option<Instant>>,
    state: Mutex<State>,
}

/// What a sealed holds.
#[derive(Clone, Copy, Debug)]
pub struct SealedTotals {
    pub sealed: Seq,
    pub events: u64,
    pub disk_bytes: u64,
    pub oldest: Option<Timestamp>,
    pub gaps: u64,
}

#[derive(Debug)]
struct State {
    manifest: Manifest,
    files: BTreeMap<String, Arc<SliceFile>>,
}

impl SealedPartition {
    pub(crate) fn new(dir: &Path, manifest: Manifest) -> Self {
        let mut state = State {
            files: BTreeMap::new(),
            manifest: Manifest::new(manifest.partition, manifest.first),
        };
        let (partition, sealed) = (manifest.partition, manifest.sealed);
        state.adopt(dir, manifest);
        Self {
            partition,
            dir: dir.to_owned(),
            duplicates: Mutex::new(Duplicates::new(sealed, sealed)),
            asked: Mutex::default(),
            state: Mutex::new(state),
        }
    }

    /// What is sealed now. The files stay on disk as long as they are held.
    #[must_use]
    pub fn snapshot(&self) -> (Manifest, Vec<Arc<SliceFile>>) {
        let state = self.lock();
        let files = state.manifest.slices.iter();
        let files = files.map(|slice| Arc::clone(&state.files[&slice.file]));
        (state.manifest.clone(), files.collect())
    }

    #[must_use]
    pub fn manifest(&self) -> Manifest {
        self.lock().manifest.clone()
    }

    /// Writes the changed manifest, then lets everybody see it. `change` may refuse by `false`;
    /// then nothing happens.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Manifest) -> bool) -> Result<bool> {
        let mut state = self.lock();
        let mut manifest = state.manifest.clone();
        if !change(&mut manifest) {
            return Ok(false);
        }
        manifest.write(&self.dir)?;
        state.adopt(&self.dir, manifest);
        Ok(true)
    }

    /// Moves the damaged file of `slice` out of the way and notes the gap.
    pub(crate) fn quarantine(&self, slice: &Slice, reason: &Error) -> Result<()> {
        tracing::error!(
            partition = %self.partition,
            file = slice.file,
            error = %reason,
            "slice is damaged and goes into quarantine"
        );
        set_aside(&self.dir, &slice.file)?;
        self.change(|manifest| {
            manifest.lose(slice);
            true
        })?;
        Ok(())
    }

    /// The last sequence that is durable here.
    #[must_use]
    pub fn committed(&self) -> Seq {
        self.lock_duplicates().through
    }

    /// Everything up to `through` is durable here, without what was `dropped`.
    pub(crate) fn commit(&self, through: Seq, dropped: &[Duplicate]) {
        self.lock_duplicates().add(through, dropped);
    }

    /// Up to `seq` readers have long been told what is sealed.
    pub(crate) fn forget_duplicates(&self, seq: Seq) {
        self.lock_duplicates().forget(seq);
    }

    /// What behind `after` repeats earlier events, for a reader that waits to know.
    pub(crate) fn duplicates(&self, after: Seq) -> Duplicates {
        *self.lock_asked() = Some(Instant::now());
        self.lock_duplicates().behind(after)
    }

    /// When a reader asked last what repeats earlier events: it waits until all that it reads is
    /// committed, and asks again until then.
    #[must_use]
    pub fn asked(&self) -> Option<Instant> {
        *self.lock_asked()
    }

    fn lock_asked(&self) -> MutexGuard<'_, Option<Instant>> {
        self.asked
            .lock()
            .expect("nothing panics while it holds this")
    }

    fn lock_duplicates(&self) -> MutexGuard<'_, Duplicates> {
        self.duplicates
            .lock()
            .expect("nothing panics while it holds this")
    }

    /// What is sealed, added up.
    #[must_use]
    pub fn totals(&self) -> SealedTotals {
        let state = self.lock();
        let slices = &state.manifest.slices;
        SealedTotals {
            sealed: state.manifest.sealed,
            events: slices.iter().map(|slice| slice.rows).sum(),
            disk_bytes: state.files.values().map(|file| file.disk_bytes).sum(),
            oldest: slices.iter().map(Slice::received_min).min(),
            gaps: state.manifest.gaps.len() as u64,
        }
    }

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
            removals: manifest.removals,
            slices: slices.collect(),
            gaps: gaps.collect(),
            duplicates: manifest.duplicates,
            expired_events: manifest.expired_events,
            dead_letters: manifest.dead_letters,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds this")
    }
}

impl State {
    fn adopt(&mut self, dir: &Path, manifest: Manifest) {
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
            let keep = live.contains(&name.as_str());
            if !keep {
                file.delete_on_drop.store(true, Ordering::Release);
            }
            keep
        });
        self.manifest = manifest;
    }
}

/// Moves `file` of the partition folder `dir` into its quarantine, if it is still there.
pub(crate) fn set_aside(dir: &Path, file: &str) -> Result<()> {
    let quarantine = layout::quarantine_dir(dir);
    disk::create_dir(&quarantine)?;
    for name in [file.to_owned(), format!("{file}.wal")] {
        if dir.join(&name).exists() {
            disk::rename(&dir.join(&name), &quarantine.join(&name))?;
        }
    }
    disk::sync_dir(dir)
}

/// The partitions that are served.
#[derive(Clone, Debug, Default)]
pub struct Catalog(Arc<Mutex<BTreeMap<PartitionId, Arc<SealedPartition>>>>);

impl Catalog {
    pub(crate) fn insert(&self, sealed: Arc<SealedPartition>) {
        self.lock().insert(sealed.partition, sealed);
    }

    #[must_use]
    pub fn sealed(&self, partition: PartitionId) -> Option<Arc<SealedPartition>> {
        self.lock().get(&partition).map(Arc::clone)
    }

    #[must_use]
    pub fn sealed_partitions(&self) -> Vec<Arc<SealedPartition>> {
        self.lock().values().map(Arc::clone).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Arc<SealedPartition>>> {
        self.0.lock().expect("nothing panics while it holds this")
    }
}
