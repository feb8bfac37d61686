//! The canonical bytes of an event and their checksum.

mod encode;

use bytes::Bytes;
use event::{ContentEncoding, Event, EventId, MAX_EVENT_BYTES, TenantId, Timestamp};
use prost::Message as _;

use crate::{error::DecodeError, validate, wire};

/// The fields of an event's canonical bytes, borrowed. Without the tenant: the frame has it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRef<'a> {
    pub event_id: EventId,
    pub conversation_id: &'a str,
    pub task_id: Option<&'a str>,
    pub event_type: &'a str,
    pub timestamp: Timestamp,
    pub content: &'a str,
    pub content_encoding: ContentEncoding,
    pub metadata: &'a str,
    pub correlation_id: Option<&'a str>,
    pub trace_id: Option<&'a str>,
    pub span_id: Option<&'a str>,
}

impl<'a> From<&'a Event> for EventRef<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            event_id: event.event_id,
            conversation_id: event.conversation_id.as_str(),
            task_id: event.task_id.as_deref(),
            event_type: event.event_type.as_str(),
            timestamp: event.timestamp,
            content: &event.content,
            content_encoding: event.content_encoding,
            metadata: &event.metadata,
            correlation_id: event.correlation_id.as_deref(),
            trace_id: event.trace_id.as_deref(),
            span_id: event.span_id.as_deref(),
        }
    }
}

impl EventRef<'_> {
    /// Encodes the event into `buffer`, replacing its contents.
    pub fn encode_into<'b>(&self, buffer: &'b mut Vec<u8>) -> Encoded<'b> {
        buffer.clear();
        encode::event(self, buffer);
        Encoded {
            crc32c: crc32c::crc32c(buffer),
            bytes: buffer,
        }
    }
}

/// The identity of an event across retries: two attempts with equal values sent the same event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub id: EventId,
    /// The crc32c of the event as its producer sent it.
    pub checksum: u32,
}

/// The canonical bytes of one event and their crc32c, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded<'a> {
    pub bytes: &'a [u8],
    pub crc32c: u32,
}

/// The canonical bytes of one event and their crc32c, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedEvent {
    pub bytes: Bytes,
    pub crc32c: u32,
}

impl EncodedEvent {
    /// Encodes `event` into its canonical bytes.
    #[must_use]
    pub fn encode(event: &Event) -> Self {
        let mut bytes = Vec::new();
        let crc32c = EventRef::from(event).encode_into(&mut bytes).crc32c;
        let bytes = bytes.into();
        Self { bytes, crc32c }
    }

    /// The same bytes and checksum, borrowed.
    #[must_use]
    pub fn as_encoded(&self) -> Encoded<'_> {
        Encoded {
            bytes: &self.bytes,
            crc32c: self.crc32c,
        }
    }

    /// The identity of this event, if these are the bytes that its producer sent and `id` is its id.
    #[must_use]
    pub fn identity(&self, id: EventId) -> Identity {
        Identity {
            id,
            checksum: self.crc32c,
        }
    }

    /// Decodes the event after verifying its checksum.
    ///
    /// # Errors
    /// [`DecodeError::Checksum`] if the bytes were changed, another one if they are not an event that
    /// ingest would take. Permanent: never return such an event.
    pub fn decode(&self, tenant: &TenantId) -> Result<Event, DecodeError> {
        self.verify()?;
        validate::length("event", &self.bytes, MAX_EVENT_BYTES)?;
        validate::event(wire::Event::decode(self.bytes.clone())?, tenant)
    }

    /// Verifies the bytes against their crc32c.
    ///
    /// # Errors
    /// [`DecodeError::Checksum`] if they differ. Permanent: never return such an event.
    pub fn verify(&self) -> Result<(), DecodeError> {
        let found = crc32c::crc32c(&self.bytes);
        if found == self.crc32c {
            return Ok(());
        }
        Err(DecodeError::Checksum {
            expected: self.crc32c,
            found,
        })
    }
}
