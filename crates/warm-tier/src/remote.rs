//! The warm tier over the network: Arrow Flight tickets for rows, actions for what is there.

mod client;
mod coverage;
mod duplicates;
mod scan;
pub(crate) mod serial;
mod server;

pub use client::{BatchStream, Client};
pub use coverage::{Coverage, Gap, PartitionCoverage, SliceCoverage};
pub use duplicates::Duplicates;
pub(crate) use duplicates::DuplicatesRequest;
pub use scan::{Filter, Order, Scan, Table};
pub use server::Server;

/// The Flight action that answers [`Coverage`] as JSON.
pub(crate) const COVERAGE_ACTION: &str = "coverage";
/// The Flight action that answers a [`DuplicatesRequest`] with [`Duplicates`], both as JSON.
pub(crate) const DUPLICATES_ACTION: &str = "repeats";
