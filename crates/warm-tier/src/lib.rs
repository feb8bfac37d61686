//! The warm tier: DuckDB segment files on one machine's disk, and how others read them.
//!
//! A partition has an open part in memory, which takes frames in log order, and sealed slices, which
//! never change. The manifest is the only truth of what is sealed, and with it of the offset in the
//! log. Order kept here: stage → fsync → verify → rename → manifest. Invariant: after a crash at any
//! point every event of `first..=sealed` is there once, and the log has the rest.
//!
//! The only crate that links DuckDB. Every function blocks and must not be called on an async
//! thread, except those of [`remote`].

pub mod remote;
pub mod sql;

mod catalog;
mod classify;
mod coverage;
mod dedupe;
mod disk;
mod duplicates;
mod engine;
mod error;
mod frames;
mod ids_file;
mod layout;
mod log_end;
mod maintenance;
mod manifest;
mod merge;
mod merger;
mod open_files;
mod open_part;
mod open_rollups;
mod open_scan;
mod options;
mod partition;
mod quota;
mod recovery;
mod refill;
mod rollup_batch;
mod row_check;
mod row_stream;
mod scan;
mod scan_parts;
mod scan_request;
mod scan_rows;
mod scan_sql;
mod schema;
mod seal;
mod sealed_partition;
mod serial;
mod slice_check;
mod slice_file;
mod store_claim;
mod tier;
mod unsealed;

pub use catalog::Catalog;
pub use duplicates::Duplicate;
pub use engine::Engine;
pub use error::{Error, Result};
pub use frames::{Appended, Frames};
pub use log_end::{LogAnchor, LogEnd};
pub use maintenance::{DueSlices, Expiry, UnreadSlice, drop_slice, purgeable};
pub use manifest::{Expired, IdFile, LostSlice, Manifest, Slice};
pub use merger::Merger;
pub use options::Options;
pub use partition::{DEDUPE_AGE, ID_RECOVERY_COLUMNS, Partition, RecoveredRows};
pub use refill::{RefillOutcome, RefillRows, refill, to_refill};
pub use row_check::{PROOF_COLUMNS, Removals, RowCheck, RowsMissing, Thinned};
pub use scan::Scanner;
pub use seal::{SealOutcome, SealTask};
pub use sealed_partition::{SealedPartition, SealedTotals, SliceFile};
pub use store_claim::StoreClaim;
pub use tier::WarmTier;
pub use unsealed::OpenState;
