//! A DuckDB instance in memory, to which segment files are attached.
//!
//! Files are always attached, never opened: `STORAGE_VERSION` must be given, because the default
//! version silently ignores `USING COMPRESSION zstd`.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use arrow::array::RecordBatch;
use duckdb::{Config, Connection};

use crate::{disk, error::Result};

/// A DuckDB instance. Cheap to clone; every user opens a connection of its own.
#[derive(Clone)]
pub struct Engine {
    root: Arc<Mutex<Connection>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts an instance with at most `memory` bytes, which spills into the folder `spill`.
    pub(crate) fn start(memory: u64, threads: i64, spill: &Path) -> Result<Self> {
        disk::create_dir(spill)?;
        let config = Config::default()
            .enable_autoload_extension(false)?
            .max_memory(&format!("{memory}B"))?
            .threads(threads)?
            .with("temp_directory", spill.to_string_lossy())?
            // Checkpoints are explicit: an automatic one inside a commit costs 200 ms.
            .with("checkpoint_threshold", "1TB")?;
        let connection = Connection::open_in_memory_with_flags(config)?;
        // A file is checkpointed when it is sealed; an open one is replayed from its WAL.
        connection.execute_batch("PRAGMA disable_checkpoint_on_shutdown")?;
        Ok(Self {
            root: Arc::new(Mutex::new(connection)),
        })
    }

    /// Whether it answers at all: after a fatal error it does not, and only a new process may go on.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let answer = self.connect().and_then(|connection| {
            let one = connection.query_row("SELECT 1", [], |row| row.get::<_, i64>(0));
            Ok(one?)
        });
        answer.is_ok()
    }

    /// Opens a connection to the instance.
    pub(crate) fn connect(&self) -> Result<Connection> {
        let root = self
            .root
            .lock()
            .expect("nothing panics while it holds this");
        Ok(root.try_clone()?)
    }
}

/// Attaches `path` for writing, creating it when it does not exist.
pub(crate) fn attach(connection: &Connection, path: &Path, alias: &str) -> Result<()> {
    let path = quoted(path);
    let sql = format!("ATTACH {path} AS {alias} (STORAGE_VERSION 'v1.5.0')");
    Ok(connection.execute_batch(&sql)?)
}

/// Attaches `path` for reading.
pub(crate) fn attach_read_only(connection: &Connection, path: &Path, alias: &str) -> Result<()> {
    let path = quoted(path);
    Ok(connection.execute_batch(&format!("ATTACH {path} AS {alias} (READ_ONLY)"))?)
}

/// Detaches `alias`, which must not be the current database (`USE`) of any connection.
pub(crate) fn detach(connection: &Connection, alias: &str) -> Result<()> {
    Ok(connection.execute_batch(&format!("DETACH {alias}"))?)
}

/// Appends `rows` to the temporary table `table` of this connection, which has their columns.
pub(crate) fn append(connection: &Connection, table: &str, rows: RecordBatch) -> Result<()> {
    let mut appender = connection.appender_to_catalog_and_db(table, "temp", "main")?;
    appender.append_record_batch(rows)?;
    Ok(appender.flush()?)
}

fn quoted(path: &Path) -> String {
    text(&path.to_string_lossy())
}

/// Quotes `value` as a SQL string literal.
pub(crate) fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
