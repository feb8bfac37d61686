//! Validates an item: an event, or its first error.

use std::{borrow::Cow, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use event::{
    ContentEncoding, ConversationId, EventId, EventType, IdError, MAX_CORRELATION_BYTES,
    MAX_TASK_BYTES, Timestamp,
};
use event_proto::EventRef;

use super::{
    Context, ItemError,
    conversations::Conversations,
    item::{FieldName, Fields, Item, MAX_UNKNOWN_FIELDS, Value},
    metadata,
};

/// The most that a producer's clock may be ahead. No reason for the number but to tolerate unsynced clocks.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// A validated event as its producer sent it.
pub(super) struct ValidEvent<'a> {
    pub(super) event_id: EventId,
    /// The number of its conversation in the request.
    pub(super) conversation: usize,
    conversation_id: Cow<'a, str>,
    task_id: Option<Cow<'a, str>>,
    event_type: Cow<'a, str>,
    timestamp: Option<Timestamp>,
    content: Cow<'a, str>,
    content_encoding: ContentEncoding,
    metadata: Cow<'a, str>,
    correlation_id: Option<Cow<'a, str>>,
    trace_id: Option<Cow<'a, str>>,
    span_id: Option<Cow<'a, str>>,
}

impl ValidEvent<'_> {
    /// The event as it was sent, which is the same for every retry. A missing timestamp is 0.
    pub(super) fn as_sent(&self) -> EventRef<'_> {
        EventRef {
            event_id: self.event_id,
            conversation_id: &self.conversation_id,
            task_id: self.task_id.as_deref(),
            event_type: &self.event_type,
            timestamp: self.timestamp.unwrap_or(Timestamp::from_micros(0)),
            content: &self.content,
            content_encoding: self.content_encoding,
            metadata: &self.metadata,
            correlation_id: self.correlation_id.as_deref(),
            trace_id: self.trace_id.as_deref(),
            span_id: self.span_id.as_deref(),
        }
    }

    /// The event with the time and the trace of the request where the producer gave none; `None` when it gave
    /// both. These defaults differ between retries.
    pub(super) fn with_defaults<'c>(&'c self, context: &'c Context) -> Option<EventRef<'c>> {
        let has_trace = self.trace_id.is_some() || self.span_id.is_some();
        let trace = context.trace.as_ref().filter(|_| !has_trace);
        if self.timestamp.is_some() && trace.is_none() {
            return None;
        }
        let mut event = self.as_sent();
        event.timestamp = self.timestamp.unwrap_or(context.now);
        if let Some(trace) = trace {
            event.trace_id = Some(&trace.trace_id);
            event.span_id = Some(&trace.span_id);
        }
        Some(event)
    }
}

/// Validates `item`, adding its conversation to `conversations`.
pub(super) fn event<'a>(
    context: &'a Context,
    conversations: &mut Conversations,
    item: Item<'a>,
) -> Result<ValidEvent<'a>, ItemError> {
    let mut fields = match item {
        Item::Object(fields) => fields,
        Item::Other(what) => {
            let detail = format!("an event is a JSON object, this is {what}");
            return Err(ItemError::new("not_an_object", detail));
        }
    };
    check_object(&fields)?;
    let conversation_id = conversation(context, fields.take(FieldName::ConversationId))?;
    let conversation = conversations.number(&conversation_id);
    let conversation = conversation.map_err(not_an_id(FieldName::ConversationId))?;
    let id = conversations.id(conversation);
    let (event_id, original) = event_id(context, id, fields.take(FieldName::EventId))?;
    let event_type = event_type(fields.take(FieldName::Type))?;
    let timestamp = timestamp(context.now, fields.take(FieldName::Timestamp))?;
    let (content, content_encoding) = content(&mut fields)?;
    let metadata = metadata::merge(fields.metadata, &fields.unknown, original.as_deref())?;
    let mut optional = |name, max| optional(&mut fields, name, max);
    Ok(ValidEvent {
        event_id,
        conversation,
        conversation_id,
        trace_id: optional(FieldName::TraceId, MAX_CORRELATION_BYTES)?,
        span_id: optional(FieldName::SpanId, MAX_CORRELATION_BYTES)?,
        task_id: optional(FieldName::TaskId, MAX_TASK_BYTES)?,
        event_type,
        timestamp,
        content,
        content_encoding,
        metadata,
        correlation_id: optional(FieldName::CorrelationId, MAX_CORRELATION_BYTES)?,
    })
}

/// Checks the rules that concern the whole object: no tenant, no repeated field, not too
/// many fields, no U+0000.
fn check_object(fields: &Fields<'_>) -> Result<(), ItemError> {
    if fields.tenant {
        return Err(ItemError::new(
            "tenant_not_allowed",
            "the tenant comes from the credential, never from the body; leave it out",
        ));
    }
    if fields.too_many {
        let detail = format!(
            "an event has at most {MAX_UNKNOWN_FIELDS} fields of the producer's own; put them into one \
             object in metadata"
        );
        return Err(ItemError::new("too_many_fields", detail));
    }
    if let Some(name) = fields.repeated {
        return Err(metadata::repeated(name));
    }
    if let Some(name) = fields.with_nul() {
        return Err(metadata::nul(name));
    }
    Ok(())
}

/// The text of a string field; an error when it has another type.
fn text<'a>(name: FieldName, value: Value<'a>) -> Result<Option<Cow<'a, str>>, ItemError> {
    match value {
        Value::Absent => Ok(None),
        Value::Text(text) => Ok(Some(text)),
        Value::Other(what) => Err(invalid(
            name,
            format!("{} must be a string, not {what}", name.as_str()),
        )),
    }
}

/// The error for an invalid value of the field `name`.
fn invalid(name: FieldName, detail: impl Into<String>) -> ItemError {
    let code = match name {
        FieldName::EventId => "invalid_event_id",
        FieldName::ConversationId => "invalid_conversation_id",
        FieldName::TaskId => "invalid_task_id",
        FieldName::Type => "invalid_type",
        FieldName::Timestamp => "invalid_timestamp",
        FieldName::Content => "invalid_content",
        FieldName::ContentEncoding => "invalid_content_encoding",
        FieldName::CorrelationId => "invalid_correlation_id",
        FieldName::TraceId => "invalid_trace_id",
        FieldName::SpanId => "invalid_span_id",
    };
    ItemError::new(code, detail)
}

/// Maps an id error to that of the field `name`.
fn not_an_id(name: FieldName) -> impl Fn(IdError) -> ItemError {
    move |error| invalid(name, error.to_string())
}

/// The conversation that the event or the path names. That of the path is already validated.
fn conversation<'a>(context: &'a Context, value: Value<'a>) -> Result<Cow<'a, str>, ItemError> {
    const NAME: FieldName = FieldName::ConversationId;
    let path = context.conversation.as_ref().map(ConversationId::as_str);
    match (text(NAME, value)?, path) {
        (None, None) => Err(ItemError::new(
            "missing_conversation",
            "conversation_id is required; name the conversation in each event or in the path",
        )),
        (None, Some(path)) => Ok(Cow::Borrowed(path)),
        (Some(own), Some(path)) if own != path => Err(ItemError::new(
            "conversation_mismatch",
            format!("conversation_id is not that of the path, {path}; leave it out of the event"),
        )),
        (Some(own), _) => Ok(own),
    }
}

/// The id, and the producer's text when that is not a UUID and the id is a hash of it.
fn event_id<'a>(
    context: &Context,
    conversation: &ConversationId,
    value: Value<'a>,
) -> Result<(EventId, Option<Cow<'a, str>>), ItemError> {
    let Some(text) = text(FieldName::EventId, value)? else {
        return Ok(((context.new_id)(), None));
    };
    let (id, hashed) = EventId::from_text(&context.tenant, conversation, &text)
        .map_err(not_an_id(FieldName::EventId))?;
    Ok((id, hashed.then_some(text)))
}

fn event_type(value: Value<'_>) -> Result<Cow<'_, str>, ItemError> {
    let Some(text) = text(FieldName::Type, value)? else {
        return Err(ItemError::new(
            "missing_type",
            "type is required; name what it is, for example output.chunk",
        ));
    };
    EventType::check(&text).map_err(not_an_id(FieldName::Type))?;
    Ok(text)
}

fn timestamp(now: Timestamp, value: Value<'_>) -> Result<Option<Timestamp>, ItemError> {
    let Some(text) = text(FieldName::Timestamp, value)? else {
        return Ok(None);
    };
    let time: Timestamp = text.parse().map_err(|error| {
        let only_lacks_zone = format!("{text}Z").parse::<Timestamp>().is_ok();
        let detail = match only_lacks_zone {
            true => format!(
                "timestamp {text:?} has no time zone; end it with Z if it is UTC, else with an offset, as \
                 +02:00"
            ),
            false => format!("timestamp is {error}"),
        };
        invalid(FieldName::Timestamp, detail)
    })?;
    if time > now.plus(MAX_CLOCK_SKEW) {
        return Err(ItemError::new(
            "timestamp_in_future",
            format!("timestamp {time} is more than 5 minutes ahead of this server, {now}"),
        ));
    }
    Ok(Some(time))
}

fn content<'a>(fields: &mut Fields<'a>) -> Result<(Cow<'a, str>, ContentEncoding), ItemError> {
    let content = text(FieldName::Content, fields.take(FieldName::Content))?.unwrap_or_default();
    let encoding = text(
        FieldName::ContentEncoding,
        fields.take(FieldName::ContentEncoding),
    )?;
    let encoding = match encoding.as_deref() {
        None | Some("utf-8") => ContentEncoding::Utf8,
        Some("base64") => ContentEncoding::Base64,
        Some(_) => {
            let detail = "content_encoding must be \"base64\" or \"utf-8\"";
            return Err(invalid(FieldName::ContentEncoding, detail));
        }
    };
    if encoding == ContentEncoding::Base64
        && let Err(error) = STANDARD.decode(content.as_bytes())
    {
        let detail = format!("content is not standard base64: {error}");
        return Err(invalid(FieldName::Content, detail));
    }
    Ok((content, encoding))
}

/// The text of an optional field of at most `max` bytes.
fn optional<'a>(
    fields: &mut Fields<'a>,
    name: FieldName,
    max: usize,
) -> Result<Option<Cow<'a, str>>, ItemError> {
    let Some(text) = text(name, fields.take(name))? else {
        return Ok(None);
    };
    if text.len() > max {
        let (what, len) = (name.as_str(), text.len());
        let detail = format!("{what} is {len} bytes long, at most {max} are allowed");
        return Err(invalid(name, detail));
    }
    Ok(Some(text))
}
