//! The hot-writer as a process, against a real event log and a real hot tier.

#![allow(clippy::unwrap_used, reason = "a test that fails must panic")]

mod crash;
mod outage;
mod start;
mod trim;
mod world;
