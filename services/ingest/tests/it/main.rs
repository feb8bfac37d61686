//! The real program against a real nats-server.

#![allow(clippy::unwrap_used, reason = "a test that fails must panic")]

mod answers;
mod conditional;
mod crash;
mod lost;
mod memory;
mod message_ids;
mod refusals;
mod shared;
mod slow;
mod start;
mod world;
