//! The cold tier: three Delta tables on a disk or in a bucket, and the objects behind them.
//!
//! `events` at full fidelity at first, thinned later; `hourly_stats` and `conversation_summary`
//! exact for ever. Any engine that reads Delta reads them. Orders kept here: put → read back →
//! verify → commit · rollups before events · unreferenced for 72 h before deleted. A range of
//! positions lands exactly once: each commit is one conditional put of the next log entry, decided
//! from the entries before it and carrying the `txn` of its partition; an error is never taken for
//! an answer, the log is read again.
//!
//! The only crate that links `object_store` and `deltalake-core`.

mod cache;
mod checkpoint;
mod commit;
mod durable;
mod error;
mod file;
mod log;
mod open;
mod prune;
mod read;
mod replay;
mod rows;
mod snapshot;
mod stage;
mod stats;
mod table;
mod tier;
mod vacuum;

pub use cache::ObjectCache;
pub use commit::{Change, CommitOutcome};
pub use error::{Error, Result};
pub use file::{ColdFile, Extent, Provenance, parse_partition};
pub use open::{ColdOptions, S3Options};
pub use prune::{ColdScan, Order};
pub use snapshot::{ColdSnapshot, TableSnapshot};
pub use stage::{PendingFile, StagedFile};
pub use table::Table;
pub use tier::ColdTier;
pub use vacuum::Vacuumed;
