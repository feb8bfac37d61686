//! An item becomes an event, or the first thing that is wrong with it.

use std::{borrow::Cow, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use event::{ContentEncoding, ConversationId, EventId, EventType, IdError, Timestamp};
use event_proto::EventRef;

use super::{
    Bad, Context,
    conversations::Conversations,
    item::{Fields, Item, Name, Value},
    metadata,
};

/// How far a producer's clock may be ahead.
const MAX_AHEAD: Duration = Duration::from_secs(5 * 60);
const MAX_CORRELATION_BYTES: usize = 128;
const MAX_TASK_BYTES: usize = 256;

/// An event as its producer sent it, every field checked.
pub(super) struct Valid<'a> {
    pub(super) event_id: EventId,
    /// Its number in the request.
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

impl Valid<'_> {
    /// The event as it was sent: every try sends the same.
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

    /// The event as it is stored, when that is not as it was sent: with the time and the trace of
    /// the request, which differ from try to try, where the producer gave none.
    pub(super) fn filled_in<'c>(&'c self, context: &'c Context) -> Option<EventRef<'c>> {
        let traced = self.trace_id.is_some() || self.span_id.is_some();
        let trace = context.trace.as_ref().filter(|_| !traced);
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

pub(super) fn event<'a>(
    context: &'a Context,
    known: &mut Conversations,
    item: Item<'a>,
) -> Result<Valid<'a>, Bad> {
    let mut fields = match item {
        Item::Object(fields) => fields,
        Item::Other(what) => {
            let detail = format!("an event is a JSON object, this is {what}");
            return Err(Bad::new("not_an_object", detail));
        }
    };
    check_whole(&fields)?;
    let conversation_id = conversation(context, fields.take(Name::ConversationId))?;
    let conversation = known.number(&conversation_id);
    let conversation = conversation.map_err(not_an_id(Name::ConversationId))?;
    let id = known.id(conversation);
    let (event_id, original) = event_id(context, id, fields.take(Name::EventId))?;
    let event_type = event_type(fields.take(Name::Type))?;
    let timestamp = timestamp(context.now, fields.take(Name::Timestamp))?;
    let (content, content_encoding) = content(&mut fields)?;
    let metadata = metadata::merge(fields.metadata, &fields.unknown, original.as_deref())?;
    let mut optional = |name, max| optional(&mut fields, name, max);
    Ok(Valid {
        event_id,
        conversation,
        conversation_id,
        trace_id: optional(Name::TraceId, MAX_CORRELATION_BYTES)?,
        span_id: optional(Name::SpanId, MAX_CORRELATION_BYTES)?,
        task_id: optional(Name::TaskId, MAX_TASK_BYTES)?,
        event_type,
        timestamp,
        content,
        content_encoding,
        metadata,
        correlation_id: optional(Name::CorrelationId, MAX_CORRELATION_BYTES)?,
    })
}

/// What can be wrong without looking at a single field.
fn check_whole(fields: &Fields<'_>) -> Result<(), Bad> {
    if fields.tenant {
        return Err(Bad::new(
            "tenant_not_allowed",
            "the tenant comes from the credential, never from the body; leave it out",
        ));
    }
    if let Some(name) = fields.repeated {
        return Err(metadata::repeated(name));
    }
    if let Some(name) = fields.with_nul() {
        return Err(metadata::nul(name));
    }
    Ok(())
}

fn text<'a>(name: Name, value: Value<'a>) -> Result<Option<Cow<'a, str>>, Bad> {
    match value {
        Value::Absent => Ok(None),
        Value::Text(text) => Ok(Some(text)),
        Value::Other(what) => Err(invalid(
            name,
            format!("{} must be a string, not {what}", name.as_str()),
        )),
    }
}

fn invalid(name: Name, detail: impl Into<String>) -> Bad {
    let code = match name {
        Name::EventId => "invalid_event_id",
        Name::ConversationId => "invalid_conversation_id",
        Name::TaskId => "invalid_task_id",
        Name::Type => "invalid_type",
        Name::Timestamp => "invalid_timestamp",
        Name::Content => "invalid_content",
        Name::ContentEncoding => "invalid_content_encoding",
        Name::CorrelationId => "invalid_correlation_id",
        Name::TraceId => "invalid_trace_id",
        Name::SpanId => "invalid_span_id",
    };
    Bad::new(code, detail)
}

fn not_an_id(name: Name) -> impl Fn(IdError) -> Bad {
    move |error| invalid(name, error.to_string())
}

/// Which conversation the event names, or the path for it. That of the path is an identifier.
fn conversation<'a>(context: &'a Context, value: Value<'a>) -> Result<Cow<'a, str>, Bad> {
    const NAME: Name = Name::ConversationId;
    let path = context.conversation.as_ref().map(ConversationId::as_str);
    match (text(NAME, value)?, path) {
        (None, None) => Err(Bad::new(
            "missing_conversation",
            "conversation_id is required; name the conversation in each event or in the path",
        )),
        (None, Some(path)) => Ok(Cow::Borrowed(path)),
        (Some(own), Some(path)) if own != path => Err(Bad::new(
            "conversation_mismatch",
            format!("conversation_id is not that of the path, {path}; leave it out of the event"),
        )),
        (Some(own), _) => Ok(own),
    }
}

/// The id, and the producer's text when it is more than the id can hold.
fn event_id<'a>(
    context: &Context,
    conversation: &ConversationId,
    value: Value<'a>,
) -> Result<(EventId, Option<Cow<'a, str>>), Bad> {
    let Some(text) = text(Name::EventId, value)? else {
        return Ok(((context.new_id)(), None));
    };
    let (id, hashed) = EventId::from_text(&context.tenant, conversation, &text)
        .map_err(not_an_id(Name::EventId))?;
    Ok((id, hashed.then_some(text)))
}

fn event_type(value: Value<'_>) -> Result<Cow<'_, str>, Bad> {
    let Some(text) = text(Name::Type, value)? else {
        return Err(Bad::new(
            "missing_type",
            "type is required; name what it is, for example output.chunk",
        ));
    };
    EventType::check(&text).map_err(not_an_id(Name::Type))?;
    Ok(text)
}

fn timestamp(now: Timestamp, value: Value<'_>) -> Result<Option<Timestamp>, Bad> {
    let Some(text) = text(Name::Timestamp, value)? else {
        return Ok(None);
    };
    let time: Timestamp = text
        .parse()
        .map_err(|error| invalid(Name::Timestamp, format!("timestamp is {error}")))?;
    if time > now.plus(MAX_AHEAD) {
        return Err(Bad::new(
            "timestamp_in_future",
            format!("timestamp {time} is more than 5 minutes ahead of this server, {now}"),
        ));
    }
    Ok(Some(time))
}

fn content<'a>(fields: &mut Fields<'a>) -> Result<(Cow<'a, str>, ContentEncoding), Bad> {
    let content = text(Name::Content, fields.take(Name::Content))?.unwrap_or_default();
    let encoding = text(Name::ContentEncoding, fields.take(Name::ContentEncoding))?;
    let encoding = match encoding.as_deref() {
        None | Some("utf-8") => ContentEncoding::Utf8,
        Some("base64") => ContentEncoding::Base64,
        Some(_) => {
            let detail = "content_encoding must be \"base64\" or \"utf-8\"";
            return Err(invalid(Name::ContentEncoding, detail));
        }
    };
    if encoding == ContentEncoding::Base64
        && let Err(error) = STANDARD.decode(content.as_bytes())
    {
        let detail = format!("content is not standard base64: {error}");
        return Err(invalid(Name::Content, detail));
    }
    Ok((content, encoding))
}

fn optional<'a>(
    fields: &mut Fields<'a>,
    name: Name,
    max: usize,
) -> Result<Option<Cow<'a, str>>, Bad> {
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
