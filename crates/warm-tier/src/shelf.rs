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
    Error, Result, disk, layout,
    manifest::{Manifest, Slice},
    open_segment::Duplicate,
    remote::{Hole, PartitionCoverage, Repeats, SliceCoverage},
};

/// A sealed file. Once the manifest no longer names it, it is unlinked when the last holder lets
/// go; after a crash in between the next start finds it unnamed and removes it.
#[derive(Debug)]
pub struct SliceFile {
    pub path: PathBuf,
    pub slice: Slice,
    disk_bytes: u64,
    doomed: AtomicBool,
}

impl Drop for SliceFile {
    fn drop(&mut self) {
        if !self.doomed.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = disk::remove(&self.path) {
            tracing::warn!(error = %error, "a dropped slice stays until the next start");
        }
    }
}

/// The sealed part of one partition. Shared by its writer, the readers and the upkeep.
#[derive(Debug)]
pub struct Shelf {
    pub partition: PartitionId,
    pub dir: PathBuf,
    /// Reaches up to what is committed.
    repeats: Mutex<Repeats>,
    asked: Mutex<Option<Instant>>,
    state: Mutex<State>,
}

/// What a shelf holds.
#[derive(Clone, Copy, Debug)]
pub struct ShelfTotals {
    pub sealed: Seq,
    pub events: u64,
    pub disk_bytes: u64,
    pub oldest: Option<Timestamp>,
    pub holes: u64,
}

#[derive(Debug)]
struct State {
    manifest: Manifest,
    files: BTreeMap<String, Arc<SliceFile>>,
}

impl Shelf {
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
            repeats: Mutex::new(Repeats::new(sealed, sealed)),
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

    /// Moves the damaged file of `slice` out of the way and notes the hole.
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
        self.lock_repeats().through
    }

    /// Everything up to `through` is durable here, without what was `dropped`.
    pub(crate) fn commit(&self, through: Seq, dropped: &[Duplicate]) {
        self.lock_repeats().add(through, dropped);
    }

    /// Up to `seq` readers have long been told what is sealed.
    pub(crate) fn forget_repeats(&self, seq: Seq) {
        self.lock_repeats().forget(seq);
    }

    /// What behind `after` repeats earlier events, for a reader that waits to know.
    pub(crate) fn repeats(&self, after: Seq) -> Repeats {
        *self.lock_asked() = Some(Instant::now());
        self.lock_repeats().behind(after)
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

    fn lock_repeats(&self) -> MutexGuard<'_, Repeats> {
        self.repeats
            .lock()
            .expect("nothing panics while it holds this")
    }

    /// What is sealed, added up.
    #[must_use]
    pub fn totals(&self) -> ShelfTotals {
        let state = self.lock();
        let slices = &state.manifest.slices;
        ShelfTotals {
            sealed: state.manifest.sealed,
            events: slices.iter().map(|slice| slice.rows).sum(),
            disk_bytes: state.files.values().map(|file| file.disk_bytes).sum(),
            oldest: slices.iter().map(Slice::received_min).min(),
            holes: state.manifest.holes.len() as u64,
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
        let holes = manifest.holes.iter().map(|hole| Hole {
            lo: hole.lo,
            hi: hole.hi,
            class: hole.slice.as_ref().map(|slice| slice.class),
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
            holes: holes.collect(),
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
                    doomed: AtomicBool::new(false),
                })
            });
        }
        let live: Vec<&str> = manifest.slices.iter().map(|s| s.file.as_str()).collect();
        self.files.retain(|name, file| {
            let keep = live.contains(&name.as_str());
            if !keep {
                file.doomed.store(true, Ordering::Release);
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
pub struct Catalog(Arc<Mutex<BTreeMap<PartitionId, Arc<Shelf>>>>);

impl Catalog {
    pub(crate) fn insert(&self, shelf: Arc<Shelf>) {
        self.lock().insert(shelf.partition, shelf);
    }

    #[must_use]
    pub fn shelf(&self, partition: PartitionId) -> Option<Arc<Shelf>> {
        self.lock().get(&partition).map(Arc::clone)
    }

    #[must_use]
    pub fn shelves(&self) -> Vec<Arc<Shelf>> {
        self.lock().values().map(Arc::clone).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Arc<Shelf>>> {
        self.0.lock().expect("nothing panics while it holds this")
    }
}
