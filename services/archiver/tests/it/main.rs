#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test that fails must panic"
)]

mod ageing;
mod crash;
mod damage;
mod days;
mod memory;
mod restored;
mod rules;
mod start;
mod world;
