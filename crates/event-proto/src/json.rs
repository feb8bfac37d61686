//! The JSON form of an event, the same in every answer.

use event::{ContentEncoding, StoredEvent};

/// Appends `stored` as one JSON object, without a line end. Absent fields are left out;
/// `metadata` is copied byte for byte.
pub fn write(stored: &StoredEvent, out: &mut Vec<u8>) {
    let event = &stored.event;
    let mut object = ObjectWriter { out, first: true };
    object.text("position", &stored.position.to_string());
    object.text("event_id", &event.event_id.to_string());
    object.text("conversation_id", event.conversation_id.as_str());
    object.optional("task_id", event.task_id.as_deref());
    object.text("type", event.event_type.as_str());
    object.text("timestamp", &event.timestamp.to_string());
    object.text("content", &event.content);
    if event.content_encoding == ContentEncoding::Base64 {
        object.text("content_encoding", "base64");
    }
    if !event.metadata.is_empty() {
        object.raw("metadata", &event.metadata);
    }
    object.optional("correlation_id", event.correlation_id.as_deref());
    object.optional("trace_id", event.trace_id.as_deref());
    object.optional("span_id", event.span_id.as_deref());
    object.text("received_at", &stored.received_at.to_string());
    if stored.sample_rate < 1.0 {
        object.raw("sample_rate", &stored.sample_rate.to_string());
    }
    object.out.push(b'}');
}

/// Writer of one JSON object, member by member.
struct ObjectWriter<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl ObjectWriter<'_> {
    /// Writes `value`, which is JSON already.
    fn raw(&mut self, name: &str, value: &str) {
        self.out.push(if self.first { b'{' } else { b',' });
        self.first = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out.extend_from_slice(value.as_bytes());
    }

    fn text(&mut self, name: &str, value: &str) {
        self.raw(name, "");
        serde_json::to_writer(&mut *self.out, value).expect("a string always has a JSON form");
    }

    fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }
}

#[cfg(test)]
mod tests;
