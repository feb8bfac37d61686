//! Real servers and our own programs for tests. Each test gets its own processes, on free ports and
//! in temporary directories; they are killed when the test ends, even when the test itself is
//! killed.
//!
//! Only ever a dev-dependency. A missing program fails the test; it never skips it.

#![allow(clippy::unwrap_used, reason = "a helper that fails must panic")]

mod nats;
mod port;
mod process;
mod program;
mod relay;
mod seaweedfs;
mod service;
mod shifted_clock;
mod valkey;
mod wait;
mod wire;

pub use nats::Nats;
pub use port::free_port;
pub use program::{program, tool};
pub use relay::{Loss, Relay};
pub use seaweedfs::SeaweedFs;
pub use service::{Service, metric};
pub use shifted_clock::ShiftedClock;
pub use valkey::Valkey;
pub use wait::{eventually, eventually_within};
