//! The resources of one compactor.

use std::path::PathBuf;

/// The data folder and the memory limits of one compactor.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder with everything that the warm tier stores.
    pub data: PathBuf,
    /// Memory of DuckDB in bytes: half for appending and sealing, a quarter each for merging and for reading.
    pub memory_limit: u64,
    /// Bytes that the filters of known event ids of all partitions may take together.
    pub dedupe_memory: usize,
}

/// The share of DuckDB's memory that a part of large events may have, so that it can be sealed: DuckDB holds
/// such a part completely when it commits it, and fails from half of its memory on (measured).
const PART_SHARE: u64 = 4;

impl Options {
    /// The most bytes that an open part should have in memory.
    #[must_use]
    pub fn max_part_bytes(&self) -> u64 {
        self.memory_limit / PART_SHARE
    }
}
