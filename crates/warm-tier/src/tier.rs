//! A data folder: its lock, its DuckDB instances and its partitions.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
};

use event::{PartitionId, Seq};

use crate::{
    catalog::Catalog,
    disk,
    engine::Engine,
    error::{Error, Result},
    layout,
    options::Options,
    partition::Partition,
    scan::Scanner,
};

/// An open data folder. Its lock is held until it is dropped.
#[derive(Debug)]
pub struct WarmTier {
    _lock: File,
    options: Options,
    writer: Engine,
    catalog: Catalog,
}

/// Threads of the instance that writes. Batches are small: a second thread would cost more in
/// synchronization than it saves. A seal, of which one runs at a time, uses one core only.
const WRITER_THREADS: i64 = 1;

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
        match fs::remove_dir_all(&spill) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("empty", &spill)(error));
            }
            _ => {}
        }
        let half = options.memory_limit / 2;
        let writer = Engine::start(half, WRITER_THREADS, &spill.join("write"))?;
        Ok(Self {
            _lock: lock,
            options,
            writer,
            catalog: Catalog::default(),
        })
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
    /// [`Error::Damaged`] when the manifest cannot be read or an open segment does not continue the
    /// sealed range: restore the folder. [`Error::File`] or [`Error::Database`] when a file fails.
    pub fn partition(&self, partition: PartitionId, first: Seq) -> Result<Partition> {
        let opened = Partition::open(self.writer.clone(), &self.options, partition, first)?;
        self.catalog.insert(opened.sealed());
        Ok(opened)
    }

    /// Starts a reader of the sealed slices of all partitions of this folder.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`] when its DuckDB instance cannot be started.
    pub fn scanner(&self) -> Result<Scanner> {
        let spill = layout::spill_dir(&self.options.data).join("read");
        Scanner::start(self.catalog.clone(), self.options.memory_limit / 2, spill)
    }

    /// The open partitions of this folder.
    #[must_use]
    pub fn catalog(&self) -> Catalog {
        self.catalog.clone()
    }

    /// The DuckDB instance in which the maintenance (merge, expiry, refill) runs: that of the writer.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.writer.clone()
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
