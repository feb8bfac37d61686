//! The chart on a real Kubernetes cluster. `cargo xtask e2e` finds or starts the cluster, and sets
//! the variables that `setting.rs` reads.

#![allow(clippy::unwrap_used, reason = "a scenario that fails must panic")]

mod admission;
mod api;
mod archive;
mod client;
mod events;
mod faults;
mod install;
mod kubectl;
mod load;
mod operator;
mod policy;
mod refusals;
mod retention;
mod rights;
mod rules;
mod setting;
mod upgrade;
mod volume;
mod world;
