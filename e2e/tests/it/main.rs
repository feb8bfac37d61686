//! The whole path on the real programs.

#![allow(clippy::unwrap_used, reason = "a test that fails must panic")]

mod admin_port;
mod agents;
mod answers;
mod attacks;
mod clocks;
mod crash;
mod damage;
mod duplicates;
mod gaps;
mod http;
mod restored_log;
mod rules;
mod sampling;
mod tiers;
mod traces;
mod two_stores;
mod waits;
mod world;
