//! The wire formats: events on the log, in the hot tier and in an answer.
//!
//! An event is encoded once, at the edge, into its canonical bytes; every hop copies those bytes
//! and checks their crc32c. Invariant: `decode(encode(x)) == x`, and an event that does not match
//! its checksum is never returned.

mod block;
mod canonical;
mod contents;
mod error;
mod frame;
pub mod json;
pub mod metadata;
mod pack;
mod validate;

pub use canonical::{Encoded, EncodedEvent, EventRef, Identity};
pub use contents::{Damage, FrameContents, ReadableEvent, UnknownVersion};
pub use error::DecodeError;
pub use frame::{
    Frame, FrameBuilder, FramedEvent, MAX_FRAME_BYTES, MAX_FRAME_EVENTS, have_same_events,
};
pub use pack::{Pack, PackedEvent};

/// Generated from `proto/isotherm/v1`.
#[allow(
    unreachable_pub,
    missing_debug_implementations,
    clippy::doc_markdown,
    reason = "generated code"
)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/isotherm.v1.rs"));
}
