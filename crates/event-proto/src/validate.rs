//! What bytes from outside must satisfy beyond their format: the limits of ingest, applied again
//! wherever an event is decoded, because anything can be written to a log.

use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, MAX_CORRELATION_BYTES,
    MAX_TASK_BYTES, TenantId, Timestamp,
};

use crate::{error::DecodeError, metadata, wire};

/// The event in `message`, if ingest would take it.
pub(crate) fn event(message: wire::Event, tenant: &TenantId) -> Result<Event, DecodeError> {
    let event_id: [u8; 16] = message.event_id[..]
        .try_into()
        .map_err(|_| DecodeError::Field("event_id"))?;
    metadata::check(&message.metadata)?;
    no_nul("content", &message.content)?;
    Ok(Event {
        event_id: EventId::from_bytes(event_id),
        tenant: tenant.clone(),
        conversation_id: ConversationId::new(&message.conversation_id)?,
        task_id: optional("task_id", message.task_id, MAX_TASK_BYTES)?,
        event_type: EventType::new(&message.r#type)?,
        timestamp: time("timestamp_us", message.timestamp_us)?,
        content: message.content,
        content_encoding: content_encoding(message.content_encoding)?,
        metadata: message.metadata,
        correlation_id: correlation("correlation_id", message.correlation_id)?,
        trace_id: correlation("trace_id", message.trace_id)?,
        span_id: correlation("span_id", message.span_id)?,
    })
}

/// The time of `micros` since 1970.
pub(crate) fn time(field: &'static str, micros: i64) -> Result<Timestamp, DecodeError> {
    Timestamp::checked_from_micros(micros).ok_or(DecodeError::Time { field, micros })
}

/// Refuses `bytes` that are longer than `max`.
pub(crate) fn length(field: &'static str, bytes: &[u8], max: usize) -> Result<(), DecodeError> {
    let found = bytes.len();
    if found > max {
        return Err(DecodeError::TooLarge { field, found, max });
    }
    Ok(())
}

/// The compression of a block: a number that is not known is an error, not the default.
pub(crate) fn compression(number: i32) -> Result<wire::Compression, DecodeError> {
    wire::Compression::try_from(number).map_err(|_| DecodeError::Field("compression"))
}

fn content_encoding(number: i32) -> Result<ContentEncoding, DecodeError> {
    match wire::ContentEncoding::try_from(number) {
        Ok(wire::ContentEncoding::Utf8) => Ok(ContentEncoding::Utf8),
        Ok(wire::ContentEncoding::Base64) => Ok(ContentEncoding::Base64),
        Err(_) => Err(DecodeError::Field("content_encoding")),
    }
}

fn correlation(field: &'static str, text: Option<String>) -> Result<Option<String>, DecodeError> {
    optional(field, text, MAX_CORRELATION_BYTES)
}

fn optional(
    field: &'static str,
    text: Option<String>,
    max: usize,
) -> Result<Option<String>, DecodeError> {
    if let Some(text) = &text {
        length(field, text.as_bytes(), max)?;
        no_nul(field, text)?;
    }
    Ok(text)
}

fn no_nul(field: &'static str, text: &str) -> Result<(), DecodeError> {
    if text.as_bytes().contains(&0) {
        return Err(DecodeError::Nul(field));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
