//! The event itself, as every tier stores it.

use crate::{
    id::{ConversationId, EventId, EventType, TenantId},
    position::Position,
    time::Timestamp,
};

/// The largest event, in bytes of its canonical form: as many as a whole frame of smaller
/// events may have.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;
/// The longest `task_id`, in bytes.
pub const MAX_TASK_BYTES: usize = 256;
/// The longest `correlation_id`, `trace_id` and `span_id`, in bytes.
pub const MAX_CORRELATION_BYTES: usize = 128;

/// The encoding of `content`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentEncoding {
    /// `content` is the text itself.
    #[default]
    Utf8,
    /// `content` is the base64 of bytes that are not UTF-8, kept as the producer sent it.
    Base64,
}

/// A record of one thing that an agent did or said. Immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub event_id: EventId,
    pub tenant: TenantId,
    pub conversation_id: ConversationId,
    pub task_id: Option<String>,
    pub event_type: EventType,
    /// When it happened, by the producer's clock.
    pub timestamp: Timestamp,
    pub content: String,
    pub content_encoding: ContentEncoding,
    /// A JSON object, byte for byte as the producer sent it; empty if there was none.
    pub metadata: String,
    pub correlation_id: Option<String>,
    pub trace_id: Option<String>,
    pub span_id: Option<String>,
}

/// An event with the facts that the log and the tiers add to it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    pub event: Event,
    pub position: Position,
    /// When the log stored it, by the log's clock. All ages count from here.
    pub received_at: Timestamp,
    /// The crc32c of the event's canonical bytes; verified whenever they are decoded.
    pub crc32c: u32,
    /// The probability with which sampling kept this event; 1 if it was not sampled.
    pub sample_rate: f64,
}
