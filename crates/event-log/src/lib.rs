//! The event log: one NATS JetStream stream per partition, and the small shared state (rules,
//! watermarks) that the services keep beside it. The only crate that speaks to NATS.
//!
//! Promises: [`EventLog::append`] returns success only after the log's acknowledgement, and never
//! turns a time-out into success or into "not stored". A reader sees every sequence from where it
//! began, in order and once; only a purged head is passed over. A log that went backwards is an
//! error ([`Error::Regressed`]), never a silent gap.
//!
//! Invariant: nothing leaves a stream but by [`EventLog::purge_through`], and the last message
//! always stays.

mod append;
mod args;
mod bucket;
mod error;
mod log;
mod names;
mod policy;
mod range;
mod reader;
mod store;
mod streams;
mod watermark;

pub use append::Appended;
pub use args::NatsArgs;
pub use error::{Error, Result};
pub use log::EventLog;
pub use names::stream as stream_name;
pub use policy::DEFAULT_TIME_SCALE;
pub use reader::LogMessage;
pub use streams::{LogState, MAX_MESSAGE_BYTES};
pub use watermark::{Tier, Watermark};
