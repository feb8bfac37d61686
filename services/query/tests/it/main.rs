//! The query service as a process, against a real event log, a real hot tier, and the services
//! that fill the tiers.

#![allow(clippy::unwrap_used, reason = "a test that fails must panic")]

mod clocks;
mod cold;
mod conversations;
mod dead_letters;
mod duplicates;
mod events;
mod gaps;
mod hogs;
mod locks;
mod memory;
mod preview;
mod sql;
mod stalls;
mod tail;
mod tiers;
mod world;
