//! The warm tier: DuckDB segment files on one machine's disk, and how others read them.
//!
//! A partition has one open segment, which takes batches in log order, and sealed slices, which
//! never change. The manifest is the only truth of what is sealed. Orders kept here: the offset
//! moves with the rows (one transaction) · stage → fsync → verify → rename → manifest → unlink.
//! Invariant: after a crash at any point every event of `first..=committed` is there once.
//!
//! The only crate that links DuckDB. Nothing here may be called on an async thread, except
//! [`remote`].

pub mod remote;
pub mod sql;

mod error;

pub use error::{Error, Result};
