//! The wire: how events look on the log, in the hot tier and in an answer.
//!
//! An event is encoded once, at the edge, into its canonical bytes; every hop copies those bytes
//! and checks their crc32c. Invariant: `decode(encode(x)) == x`, and an event that does not match
//! its checksum is never returned.

mod block;
mod canonical;
mod frame;
pub mod json;
mod pack;

pub use canonical::{Encoded, EncodedEvent, EventRef};
pub use frame::{Frame, FrameBuilder, FramedEvent, Identity, MAX_FRAME_BYTES, MAX_FRAME_EVENTS};
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

/// Bytes that are not what they say. Never transient: the same bytes fail again.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("not a protobuf message of the expected kind")]
    Protobuf(#[from] prost::DecodeError),
    #[error("unknown format version {0}")]
    Version(u32),
    #[error("compressed block is damaged")]
    Compression,
    #[error("{0} does not fit the other fields")]
    Shape(&'static str),
    #[error("checksum of an event is {found:08x}, expected {expected:08x}")]
    Checksum { expected: u32, found: u32 },
    #[error("field {0} is not valid")]
    Field(&'static str),
}
