//! The compactor as a process, against a real nats-server.

#![allow(clippy::unwrap_used, reason = "a test that fails must panic")]

mod crash;
mod dead_letters;
mod duplicates;
mod lifecycle;
mod proof;
mod refill;
mod resources;
mod restored;
mod tiering;
mod world;
