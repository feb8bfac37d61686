//! The warm tier against its files.

#![allow(clippy::unwrap_used, reason = "a test that fails must panic")]

mod dedupe;
mod expiry;
mod failure;
mod in_place;
mod memory;
mod merge;
mod refill;
mod remote;
mod rollup;
mod row_check;
mod scan;
mod seal;
mod unsealed;
mod world;
