//! The warm tier over the network: Arrow Flight tickets for rows, actions for what is there.

mod client;
mod coverage;
mod repeats;
mod scan;
pub(crate) mod serial;
mod server;

pub use client::{BatchStream, Client};
pub use coverage::{Coverage, Hole, PartitionCoverage, SliceCoverage};
pub use repeats::Repeats;
pub(crate) use repeats::RepeatsQuestion;
pub use scan::{Filter, Order, Scan, Table};
pub use server::Server;

/// The Flight action that answers [`Coverage`] as JSON.
pub(crate) const COVERAGE_ACTION: &str = "coverage";
/// The Flight action that answers a [`RepeatsQuestion`] with [`Repeats`], both as JSON.
pub(crate) const REPEATS_ACTION: &str = "repeats";
