#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test that fails must panic"
)]

mod golden;
mod round_trip;
mod rows;
