//! One data folder: locked, with its DuckDB instances and its partitions.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use event::{PartitionId, Seq};

use crate::{
    disk,
    engine::Engine,
    error::{Error, Result},
    layout,
    partition::Partition,
    scan::Scanner,
    sealed_partition::Catalog,
};

/// What one compactor may use.
#[derive(Clone, Debug)]
pub struct Options {
    pub data: PathBuf,
    /// Bytes, for DuckDB: half for writing, half for reading.
    pub memory_limit: u64,
    /// Bytes that each partition's filters of known event ids may take.
    pub dedupe_memory: usize,
}

/// An open data folder. The lock is held until it is dropped.
#[derive(Debug)]
pub struct WarmTier {
    _lock: File,
    pub(crate) options: Options,
    pub(crate) writer: Engine,
    catalog: Catalog,
}

/// Batches are small: a second thread of DuckDB's would cost more in waiting than it brings. Seals,
/// of which one runs at a time, take a core and leave the others alone.
const WRITER_THREADS: i64 = 1;

impl WarmTier {
    /// # Errors
    /// [`Error::Locked`] when another process has the folder.
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

    /// Whether the folder knows of the partition; if not, [`WarmTier::partition`] makes a new one.
    #[must_use]
    pub fn has(&self, partition: PartitionId) -> bool {
        let dir = layout::partition_dir(&self.options.data, partition);
        dir.join(layout::MANIFEST).is_file()
    }

    /// Opens a partition; a new one begins at `first`, the first sequence that the log has.
    pub fn partition(&self, partition: PartitionId, first: Seq) -> Result<Partition> {
        let dir = layout::partition_dir(&self.options.data, partition);
        let opened = Partition::open(self, &dir, partition, first)?;
        self.catalog.insert(opened.sealed());
        Ok(opened)
    }

    /// A reader of everything that is sealed in this folder.
    pub fn scanner(&self) -> Result<Scanner> {
        let spill = layout::spill_dir(&self.options.data).join("read");
        Scanner::start(self.catalog.clone(), self.options.memory_limit / 2, spill)
    }

    #[must_use]
    pub fn catalog(&self) -> Catalog {
        self.catalog.clone()
    }

    /// Where the maintenance (merges, expiry) runs.
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
