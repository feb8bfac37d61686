//! The warm tier over the network: Arrow Flight tickets for rows, actions for coverage and
//! duplicates.

mod client;
mod server;

pub use crate::{
    coverage::{Coverage, Gap, PartitionCoverage, SliceCoverage, UnsealedCoverage},
    duplicates::Duplicates,
    open_files::RunFiles,
    scan_request::{Filter, Order, Scan, Table},
};
pub use client::{BatchStream, Client};
pub use server::Server;

/// The Flight action that answers [`Coverage`] as JSON.
pub(crate) const COVERAGE_ACTION: &str = "coverage";
/// The Flight action that answers a [`DuplicatesRequest`](crate::duplicates::DuplicatesRequest)
/// with [`Duplicates`], both as JSON.
pub(crate) const DUPLICATES_ACTION: &str = "repeats";
/// The Flight action that checks the slices of a [`CheckRequest`](crate::scan_request::CheckRequest), in
/// which a reader found a wrong row, and answers how many of them went into quarantine.
pub(crate) const CHECK_ACTION: &str = "check";
