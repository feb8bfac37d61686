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
