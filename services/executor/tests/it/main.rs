//! The real program, over a data folder without slices.

#![allow(clippy::unwrap_used, reason = "a test that fails must panic")]

mod processes;
mod world;
