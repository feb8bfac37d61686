//! An event as its canonical bytes and their checksum.

use bytes::Bytes;
use event::{ContentEncoding, ConversationId, Event, EventId, EventType, TenantId, Timestamp};
use prost::Message as _;

use crate::{DecodeError, wire};

/// The canonical bytes of one event and their crc32c.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedEvent {
    pub bytes: Bytes,
    pub crc32c: u32,
}

impl From<Event> for EncodedEvent {
    fn from(event: Event) -> Self {
        let message = wire::Event {
            event_id: Bytes::copy_from_slice(event.event_id.as_bytes()),
            conversation_id: event.conversation_id.into(),
            task_id: event.task_id,
            r#type: event.event_type.into(),
            timestamp_us: event.timestamp.as_micros(),
            content: event.content,
            content_encoding: match event.content_encoding {
                ContentEncoding::Utf8 => wire::ContentEncoding::Utf8,
                ContentEncoding::Base64 => wire::ContentEncoding::Base64,
            }
            .into(),
            metadata: event.metadata,
            correlation_id: event.correlation_id,
            trace_id: event.trace_id,
            span_id: event.span_id,
        };
        let bytes = Bytes::from(message.encode_to_vec());
        let crc32c = crc32c::crc32c(&bytes);
        Self { bytes, crc32c }
    }
}

impl EncodedEvent {
    #[must_use]
    pub fn encode(event: &Event) -> Self {
        event.clone().into()
    }

    /// Checks the checksum, then every field.
    pub fn decode(&self, tenant: &TenantId) -> Result<Event, DecodeError> {
        self.verify()?;
        let message = wire::Event::decode(self.bytes.clone())?;
        let content_encoding = match message.content_encoding() {
            wire::ContentEncoding::Utf8 => ContentEncoding::Utf8,
            wire::ContentEncoding::Base64 => ContentEncoding::Base64,
        };
        let event_id: [u8; 16] = message.event_id[..]
            .try_into()
            .map_err(|_| DecodeError::Field("event_id"))?;
        Ok(Event {
            event_id: EventId::from_bytes(event_id),
            tenant: tenant.clone(),
            conversation_id: ConversationId::new(&message.conversation_id)
                .map_err(|_| DecodeError::Field("conversation_id"))?,
            task_id: message.task_id,
            event_type: EventType::new(&message.r#type).map_err(|_| DecodeError::Field("type"))?,
            timestamp: Timestamp::from_micros(message.timestamp_us),
            content: message.content,
            content_encoding,
            metadata: message.metadata,
            correlation_id: message.correlation_id,
            trace_id: message.trace_id,
            span_id: message.span_id,
        })
    }

    /// Whether the bytes still are what was encoded.
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
