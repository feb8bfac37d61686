//! The warm tier over the network: Arrow Flight tickets for rows, one action for what is there.

mod client;
mod coverage;
mod scan;
pub(crate) mod serial;
mod server;

pub use client::{BatchStream, Client};
pub use coverage::{Coverage, Hole, PartitionCoverage, SliceCoverage};
pub use scan::{Filter, Order, Scan, Table};
pub use server::Server;

/// The Flight action that answers [`Coverage`] as JSON.
pub(crate) const COVERAGE_ACTION: &str = "coverage";
