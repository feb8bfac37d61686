//! The event log: one NATS JetStream stream per partition, and the small shared state (rules,
//! watermarks) that the services keep beside it. The only crate that speaks to NATS.
//!
//! Guarantees: [`EventLog::append`] returns success only after the log's acknowledgement, and never
//! reports a time-out as success or as "not stored". A reader gets every sequence from its start on,
//! in order and once; only a purged head is skipped. A log that went backwards, or is another one, is an
//! error ([`Error::Regressed`], [`Error::Replaced`]), never a silent gap.
//!
//! Invariant: messages are removed from a stream only by [`EventLog::purge_through`], and the last
//! message always stays.

mod append;
mod args;
mod bucket;
mod clock;
mod dead_letter;
mod error;
mod gap;
mod log;
mod log_identity;
mod message;
mod names;
mod now;
mod policy;
mod range;
mod raw_message;
mod reader;
mod seen_log;
mod store;
mod streams;
mod watermark;

pub use append::{AppendOutcome, Appended};
pub use args::NatsArgs;
pub use dead_letter::{
    DEAD_LETTER_STREAM, DeadLetter, Flood, FloodGuard, HALT_RETRY_INTERVAL, Halt,
};
pub use error::{Error, Result};
pub use gap::{AcceptedGap, GapRange, OpenGap};
pub use log::EventLog;
pub use message::LogMessage;
pub use names::stream as stream_name;
pub use policy::DEFAULT_TIME_SCALE;
pub use seen_log::LATCH_CHECK_INTERVAL;
pub use streams::{LogState, MAX_MESSAGE_BYTES};
pub use watermark::{Tier, Watermark};
