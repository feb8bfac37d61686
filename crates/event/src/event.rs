//! The event itself, as every tier stores it.

use crate::{
    id::{ConversationId, EventId, EventType, TenantId},
    position::Position,
    time::Timestamp,
};

/// The largest event, in bytes of its canonical form.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;

/// How `content` is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentEncoding {
    /// `content` is the text itself.
    #[default]
    Utf8,
    /// `content` is the base64 of bytes that are no UTF-8, kept as it came.
    Base64,
}

/// One thing that an agent did or said.
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
    /// A JSON object, byte for byte as it came; empty when there was none.
    pub metadata: String,
    pub correlation_id: Option<String>,
    pub trace_id: Option<String>,
    pub span_id: Option<String>,
}

/// An event and what the log and the tiers say of it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    pub event: Event,
    pub position: Position,
    /// When the log took it, by the log's clock. Ages count from here.
    pub received_at: Timestamp,
    /// Of the event's canonical bytes; checked at every hop.
    pub crc32c: u32,
    /// The probability with which sampling kept this event; 1 when it was not sampled.
    pub sample_rate: f64,
}
