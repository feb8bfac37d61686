//! The warm tier over the network: Arrow Flight tickets for rows, one action for what is there.

mod client;
mod coverage;
mod scan;
mod serial;

pub use client::{BatchStream, Client};
pub use coverage::{Coverage, Hole, PartitionCoverage, SliceCoverage};
pub use scan::{Filter, Order, Scan, Table};

/// The Flight action that answers [`Coverage`] as JSON.
pub(crate) const COVERAGE_ACTION: &str = "coverage";
