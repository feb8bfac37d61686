//! The sandbox of user SQL: one SELECT over rows that the caller loads, in an in-memory DuckDB
//! without access to anything else.
//!
//! Three barriers, each enough by itself for most attacks: the statement is parsed by DuckDB's own
//! parser and only known tables and functions are allowed; the instance has no external access, no
//! extension loading and a locked configuration; memory, time, rows and bytes are limited. One
//! call of a function can be neither interrupted nor measured, so a server of untrusted users runs
//! each statement in a separate process ([`Caller`], [`serve`]) and kills it at its timeout.

mod ast;
mod functions;
mod in_place;
mod pushdown;
pub mod remote;
mod rows;
mod sandbox;
mod session;
mod views;
mod watchdog;
mod wire;

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use arrow::datatypes::Schema;
use event::{SeqRange, Timestamp};
use serde::{Deserialize, Serialize};

pub use crate::scan_request::Table;
use crate::{open_files::FILTERED_COLUMNS, serial};

pub use in_place::{SliceRef, slices_in_place};
pub use sandbox::Sandbox;
pub use session::{EncodeError, Encoder, Session};
pub use wire::{Caller, Chunks, Job, RowStream, Work, serve};

/// Resource limits of one statement.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Limits {
    pub memory_bytes: u64,
    pub threads: u16,
    pub timeout: Duration,
    /// Most rows of the answer.
    pub max_rows: usize,
    /// Most bytes of the answer as it is encoded for the client.
    pub max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            threads: 2,
            timeout: Duration::from_secs(30),
            max_rows: 1_000_000,
            max_bytes: 256 << 20,
        }
    }
}

/// A slice of which a statement reads rows in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceRows {
    pub path: PathBuf,
    /// Only rows with a sequence in these ranges; without any, all rows. Rollups are read whole.
    #[serde(default, with = "serial::ranges")]
    pub ranges: Vec<SeqRange>,
}

/// Runs of what is not sealed, of which a statement reads rows in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRows {
    /// The folder of each run, with a file for each column of the statement, `tenant` and `seq`.
    pub folders: Vec<PathBuf>,
    /// The rows of all of them, before any condition.
    pub rows: u64,
    /// Only rows with a sequence in these ranges.
    #[serde(with = "serial::ranges")]
    pub ranges: Vec<SeqRange>,
}

/// Where the rows of one table come from, beside those that are loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSources {
    pub table: Table,
    /// The columns that the statement sees, a subset of the table's.
    pub columns: Vec<String>,
    /// The rows of slices and runs are those of this tenant.
    pub tenant: String,
    pub slices: Vec<SliceRows>,
    pub runs: Vec<RunRows>,
}

impl TableSources {
    /// The columns that the statement sees.
    fn schema(&self) -> Result<Schema, SqlError> {
        self.schema_of(self.columns.iter().map(String::as_str))
    }

    /// The same, and those by which rows of runs are left out.
    fn run_schema(&self) -> Result<Schema, SqlError> {
        let columns = self.columns.iter().map(String::as_str);
        let filtered = FILTERED_COLUMNS.into_iter();
        let filtered = filtered.filter(|name| !self.columns.iter().any(|own| own == name));
        self.schema_of(columns.chain(filtered))
    }

    fn schema_of<'a>(&self, columns: impl Iterator<Item = &'a str>) -> Result<Schema, SqlError> {
        let whole = self.table.schema();
        let fields = columns.map(|name| whole.field_with_name(name).cloned());
        let fields = fields.collect::<Result<Vec<_>, _>>();
        let fields = fields.map_err(|error| SqlError::Engine(error.to_string()))?;
        Ok(Schema::new(fields))
    }
}

/// The columns of `events` that a statement needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Columns {
    All,
    /// Lower-case names: all that are needed, and possibly more.
    Named(BTreeSet<String>),
}

impl Columns {
    /// The stored columns from which the column `position` is computed.
    pub const POSITION_PARTS: [&str; 5] = ["generation", "partition", "epoch", "seq", "idx"];

    /// Returns whether a scan must return the stored column `name`.
    #[must_use]
    pub fn needs(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => {
                names.contains(name)
                    || (names.contains("position") && Self::POSITION_PARTS.contains(&name))
            }
        }
    }
}

/// Conditions on `events` that every row in the answer fulfils. A scan may leave out other rows, but
/// need not: the statement checks its conditions itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushdown {
    pub conversations: Option<BTreeSet<String>>,
    pub types: Option<BTreeSet<String>>,
    /// Inclusive.
    #[serde(with = "serial::time")]
    pub timestamp_from: Option<Timestamp>,
    /// Inclusive.
    #[serde(with = "serial::time")]
    pub timestamp_to: Option<Timestamp>,
}

/// A parsed and allowed statement, with the tables, columns and conditions that it reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Select {
    #[serde(skip)]
    pub(crate) sql: String,
    pub tables: BTreeSet<Table>,
    pub columns: Columns,
    pub pushdown: Pushdown,
}

/// The errors of a statement. All but [`SqlError::Engine`] are caused by the statement.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The statement is not one read-only SELECT over the known tables and functions.
    #[error("{0}")]
    NotAllowed(String),
    /// DuckDB cannot parse or bind the statement, or it fails on its rows.
    #[error("{0}")]
    Invalid(String),
    /// A slice or a run is gone since the statement was planned: plan again.
    #[error("a slice or a run is gone since the statement was planned")]
    Stale,
    #[error("the statement did not end within {0:?}")]
    Timeout(Duration),
    #[error("the statement needs more than the {0} bytes of memory it may use")]
    Memory(u64),
    #[error("the answer has more than {rows} rows or {bytes} bytes; add a LIMIT or aggregate")]
    ResultTooLarge { rows: usize, bytes: usize },
    /// The process that ran the statement ended without an answer.
    #[error(
        "the statement ended the process that ran it, most likely by asking for too much memory at \
         once; make its values or its rows fewer"
    )]
    Died,
    #[error("SQL engine: {0}")]
    Engine(String),
}

#[cfg(test)]
mod tests;
