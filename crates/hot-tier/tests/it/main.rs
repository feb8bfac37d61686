//! The hot tier against a real valkey-server, and against a redis-server where there is one.

#![allow(clippy::unwrap_used, reason = "a test that fails must panic")]

mod appending;
mod bounds;
mod duplicates;
mod outage;
mod trimming;
mod world;
