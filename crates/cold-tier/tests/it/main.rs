#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test that fails must panic"
)]

mod bounded;
mod events;
mod identity;
mod origin;
mod suite;
mod vacuum;
mod world;
