//! Conversion of events to and from Arrow record batches and Parquet bytes. No network, no files.
//!
//! One schema serves the warm tier's scans, SQL and the cold tier's Parquet. Invariants: equal
//! rows in equal order always make equal Parquet bytes, every file ever written stays readable
//! (golden file), and [`decode()`] never returns a row that does not match its checksum.

mod conform;
mod decode;
mod encode;
pub mod encoding;
mod error;
mod memory;
pub mod parquet_io;
mod schema;

pub use conform::conform;
pub use decode::decode;
pub use encode::encode;
pub use error::{Error, Result};
pub use memory::memory_bytes;
pub use schema::{
    MAX_HOURLY_TYPES, OTHER_TYPES, conversation_summary_schema, events_schema, hourly_stats_schema,
};
