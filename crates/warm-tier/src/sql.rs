//! User SQL, locked in: one SELECT over rows that the caller hands in, in an in-memory DuckDB
//! that can reach nothing else.
//!
//! Three fences, each enough by itself for most attacks: the statement is read with DuckDB's own
//! parser and only known tables and functions pass; the instance has no external access, no
//! extension loading and a locked configuration; memory, time, rows and bytes are bounded. One
//! call of a function can be neither interrupted nor counted, so who serves strangers runs each
//! statement in a process of its own ([`Job`], [`Received`]) and kills it when its time is over.

mod ast;
mod engine;
mod functions;
mod guard;
mod pushdown;
mod wire;

use std::{collections::BTreeSet, time::Duration};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use event::Timestamp;

pub use engine::Sandbox;
pub use wire::{Job, Received, Rows};

/// What one statement may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub memory_bytes: u64,
    pub threads: u16,
    pub timeout: Duration,
    /// Of the answer.
    pub max_rows: usize,
    /// Of the answer, as Arrow.
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

/// What a statement can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    Events,
    HourlyStats,
    ConversationSummary,
}

impl Table {
    pub const ALL: [Self; 3] = [Self::Events, Self::HourlyStats, Self::ConversationSummary];

    /// The name in SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::HourlyStats => "hourly_stats",
            Self::ConversationSummary => "conversation_summary",
        }
    }
}

/// Which columns of `events` a statement needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Columns {
    All,
    /// Lower-case names. May hold more than is needed, never less.
    Named(BTreeSet<String>),
}

impl Columns {
    /// What the computed column `position` is made of.
    pub const POSITION_PARTS: [&str; 5] = ["generation", "partition", "epoch", "seq", "idx"];

    /// Whether a scan must give the stored column `name`.
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

/// Conditions on `events` that every row of the answer fulfils. A scan may leave out what does
/// not match; it need not, for the statement checks again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushdown {
    pub conversations: Option<BTreeSet<String>>,
    pub types: Option<BTreeSet<String>>,
    /// Inclusive.
    pub timestamp_from: Option<Timestamp>,
    /// Inclusive.
    pub timestamp_to: Option<Timestamp>,
}

/// A statement that may be run, and what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    pub(crate) sql: String,
    pub tables: BTreeSet<Table>,
    pub columns: Columns,
    pub pushdown: Pushdown,
}

/// The rows of a statement.
#[derive(Clone, Debug)]
pub struct Answer {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

/// Why a statement gave no answer. Only [`SqlError::Engine`] is not the statement's fault.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// It is not one read-only SELECT over the tables there are.
    #[error("{0}")]
    NotAllowed(String),
    /// DuckDB does not understand it, or it fails on its rows.
    #[error("{0}")]
    Invalid(String),
    #[error("the statement did not end within {0:?}")]
    Timeout(Duration),
    #[error("the statement needs more than the {0} bytes of memory it may use")]
    Memory(u64),
    #[error("the answer has more than {rows} rows or {bytes} bytes; add a LIMIT or aggregate")]
    ResultTooLarge { rows: usize, bytes: usize },
    /// The process that ran it is gone.
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
