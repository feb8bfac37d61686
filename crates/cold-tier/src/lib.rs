//! The cold tier: three Delta tables on a disk or in a bucket, and their objects.
//!
//! `events` is at full fidelity at first and sampled later; `hourly_stats` and
//! `conversation_summary` are exact for ever. Any engine that reads Delta can read them. A file is
//! put, read back and verified before it is committed; rollups are committed before events; an
//! object is deleted only when nothing has referred to it for the vacuum's grace period.
//!
//! A range of positions is committed exactly once: a commit is one conditional put of the next log
//! entry, decided from the entries before it and carrying the `txn` of its partition. After an
//! error the outcome is unknown, so the log is read again.
//!
//! The only crate that links `object_store` and `deltalake-core`.

mod cache;
mod check;
mod checkpoint;
mod commit;
mod day;
mod durable;
mod error;
mod file;
mod hash;
mod judgement;
mod location;
mod log;
mod object_memory;
mod origin;
mod owner;
mod prune;
mod random;
mod read;
mod replay;
mod rows;
mod snapshot;
mod stage;
mod stall;
mod stats;
mod store_id;
mod table;
mod tier;
mod vacuum;

pub use cache::ObjectCache;
pub use commit::{Change, CommitOutcome};
pub use day::{Day, DayOf};
pub use error::{Error, Result};
pub use file::{ColdFile, Extent, Provenance, parse_partition};
pub use judgement::Judgement;
pub use location::{ColdOptions, S3Options};
pub use origin::Origin;
pub use prune::{ColdScan, Order};
pub use read::{ColdItem, ColdRows};
pub use snapshot::{ColdSnapshot, TableSnapshot};
pub use stage::{PendingFile, StagedFile};
pub use table::Table;
pub use tier::ColdTier;
pub use vacuum::Vacuumed;
