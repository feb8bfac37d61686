//! A data folder: its lock, its DuckDB instances and its partitions.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use event::{PartitionId, Seq};

use crate::{
    catalog::{Catalog, Shared},
    disk,
    engine::Engine,
    error::{Error, Result},
    layout,
    merger::Merger,
    options::Options,
    partition::Partition,
    scan::Scanner,
};

/// An open data folder. Its lock is held until it is dropped.
#[derive(Debug)]
pub struct WarmTier {
    _lock: File,
    options: Options,
    /// Of seals and of lookups of event ids.
    writer: Engine,
    /// Of merges and the rest of the maintenance.
    maintenance: Engine,
    catalog: Catalog,
    /// Among how many partitions the memory for event ids is divided.
    partitions: AtomicUsize,
}

/// Threads of the instances that write. Batches are small: a second thread would cost more in
/// synchronization than it saves. A seal or a merge, of which one runs at a time, uses one core only.
const WRITER_THREADS: i64 = 1;
/// The part of the memory limit that the appends and the seals have for themselves: one half.
const WRITER_SHARE: u64 = 2;
/// The part of it that the merges have, and that the readers have: a quarter each.
const OTHER_SHARE: u64 = 4;

impl WarmTier {
    /// Opens the data folder, creating it when it does not exist, and locks it.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has the folder: stop that one. [`Error::File`] or
    /// [`Error::Database`] when the folder cannot be used.
    pub fn open(options: Options) -> Result<Self> {
        disk::create_dir(&options.data)?;
        let lock = lock(&options.data)?;
        let spill = layout::spill_dir(&options.data);
        for emptied in [&spill, &layout::open_dir(&options.data)] {
            match fs::remove_dir_all(emptied) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::file("empty", emptied)(error));
                }
                _ => {}
            }
        }
        let (half, quarter) = (
            options.memory_limit / WRITER_SHARE,
            options.memory_limit / OTHER_SHARE,
        );
        let writer = Engine::start(half, WRITER_THREADS, &spill.join("write"))?;
        let maintenance = Engine::start(quarter, WRITER_THREADS, &spill.join("maintain"))?;
        Ok(Self {
            _lock: lock,
            options,
            writer,
            maintenance,
            catalog: Catalog::default(),
            partitions: AtomicUsize::new(1),
        })
    }

    /// Divides the memory for event ids among `partitions`. Call it before the first is opened.
    pub fn divide_among(&self, partitions: u16) {
        self.partitions.store(partitions.into(), Ordering::Relaxed);
    }

    /// Returns whether the folder has the partition; if not, [`WarmTier::partition`] creates it.
    #[must_use]
    pub fn has(&self, partition: PartitionId) -> bool {
        let dir = layout::partition_dir(&self.options.data, partition);
        dir.join(layout::MANIFEST).is_file()
    }

    /// Opens a partition; a new one starts at `first`, the first sequence that the log has. Damaged
    /// slices become gaps.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the manifest cannot be read: restore the folder. [`Error::File`] or [`Error::Database`] when a file fails.
    pub fn partition(&self, partition: PartitionId, first: Seq) -> Result<Partition> {
        let partitions = self.partitions.load(Ordering::Relaxed).max(1);
        let options = Options {
            dedupe_memory: self.options.dedupe_memory / partitions,
            ..self.options.clone()
        };
        let opened = Partition::open(self.writer.clone(), &options, partition, first)?;
        self.catalog.insert(Shared {
            sealed: opened.sealed(),
            unsealed: opened.unsealed(),
        });
        Ok(opened)
    }

    /// Starts a reader of the sealed slices of all partitions of this folder.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`] when its DuckDB instance cannot be started.
    pub fn scanner(&self) -> Result<Scanner> {
        let memory = self.options.memory_limit / OTHER_SHARE;
        Scanner::start(self.catalog.clone(), self.options.data.clone(), memory)
    }

    /// The open partitions of this folder.
    #[must_use]
    pub fn catalog(&self) -> Catalog {
        self.catalog.clone()
    }

    /// The DuckDB instance in which the maintenance (merge, expiry, refill) runs.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.maintenance.clone()
    }

    /// Creates the merger of this folder.
    #[must_use]
    pub fn merger(&self) -> Merger {
        let memory = self.options.memory_limit / OTHER_SHARE;
        let spill = layout::spill_dir(&self.options.data);
        Merger::new(self.engine(), memory, spill)
    }
}

fn lock(data: &Path) -> Result<File> {
    let path = data.join(layout::LOCK);
    let file = File::create(&path).map_err(Error::file("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked {
            path: data.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(Error::file("lock", &path)(error)),
    }
}
