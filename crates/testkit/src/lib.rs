//! Real servers and our own programs for tests: one process per test, on free ports, in a
//! directory of its own, dead when the test is, even when the test is killed.
//!
//! Only ever a dev-dependency. A missing program fails the test; it never skips it.

#![allow(clippy::unwrap_used, reason = "a helper that fails must panic")]

mod nats;
mod port;
mod process;
mod program;
mod seaweedfs;
mod service;
mod valkey;
mod wait;
mod wire;

pub use nats::Nats;
pub use port::free_port;
pub use program::{program, tool};
pub use seaweedfs::SeaweedFs;
pub use service::Service;
pub use valkey::Valkey;
pub use wait::{eventually, eventually_within};
