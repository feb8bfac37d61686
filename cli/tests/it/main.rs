#![allow(clippy::unwrap_used, reason = "a test that fails must panic")]

mod append;
mod dev;
mod dlq;
mod import;
mod policy;
mod read;
mod run;
mod usage;
