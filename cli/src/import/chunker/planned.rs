//! The event made of rows, and the cutting of a row that is too large for one event into several.

use event::Timestamp;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::event_id;
use crate::{
    import::legacy::{LegacyRow, Origin, ParsedData},
    new_event::{Content, NewEvent},
    output::Row,
};

const OUTPUT: &str = "output.chunk";

/// Maximum bytes of content and metadata; the rest of [`event::MAX_EVENT_BYTES`] is for the other
/// fields.
const MAX_PAYLOAD_BYTES: usize = event::MAX_EVENT_BYTES - 8 * 1024;
/// Bytes of a part of larger content: it fits as base64, together with metadata.
const MAX_CONTENT_PART_BYTES: usize = 128 * 1024;
/// Bytes of a part of larger metadata: it fits as a JSON string, which may be twice as long.
const MAX_DATA_PART_BYTES: usize = 32 * 1024;

/// One event to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::import) struct PlannedEvent {
    pub(in crate::import) conversation: String,
    pub(in crate::import) event_id: Uuid,
    /// The first row that it was made of.
    pub(in crate::import) first_id: String,
    pub(in crate::import) first_rowid: i64,
    /// Number of rows in it; a row cut into several events counts in the first.
    pub(in crate::import) rows: u64,
    pub(in crate::import) line: String,
}

/// The content and origin from which one event is made.
pub(super) struct EventInput<'a> {
    pub(super) conversation: &'a str,
    pub(super) at: Timestamp,
    pub(super) first_rowid: i64,
    pub(super) content: &'a [u8],
    pub(super) origin: Origin,
    pub(super) fields: Option<ParsedData>,
}

impl EventInput<'_> {
    pub(super) fn into_event(self, source: &str) -> PlannedEvent {
        let event_id = event_id(source, self.conversation, self.at, &self.origin);
        let (event_type, task_id, metadata) = match self.fields {
            Some(fields) => (fields.event_type, fields.task_id, fields.metadata),
            None => (OUTPUT.to_owned(), None, Row::default()),
        };
        // A member `legacy` of the producer keeps its name.
        let name = if metadata.get("legacy").is_none() {
            "legacy"
        } else {
            "isotherm_legacy"
        };
        let metadata = metadata.with(name, &self.origin).json();
        let event = NewEvent {
            event_id: event_id.to_string(),
            conversation_id: self.conversation,
            task_id: task_id.as_deref(),
            event_type: &event_type,
            timestamp: Some(self.at.to_string()),
            content: Content::new(self.content),
            metadata: Some(RawValue::from_string(metadata).expect("a row's JSON form is JSON")),
        };
        let is_first = self.origin.part.is_none_or(|(part, _)| part == 0);
        PlannedEvent {
            first_rowid: self.first_rowid,
            rows: if is_first { self.origin.rows } else { 0 },
            conversation: self.conversation.to_owned(),
            event_id,
            first_id: self.origin.first_id,
            line: event.json_line(),
        }
    }
}

/// Makes the event of a row, or several when it is too large for one.
pub(super) fn single(source: &str, row: &LegacyRow) -> Vec<PlannedEvent> {
    let fields = row.parsed_data.as_deref().map(ParsedData::parse);
    let metadata = fields
        .as_ref()
        .map_or(0, |fields| fields.metadata.json().len());
    let input = |content, part, fields, parsed_data| EventInput {
        conversation: row.conversation.as_str(),
        at: row.at,
        first_rowid: row.rowid,
        content,
        origin: Origin {
            first_id: row.id.clone(),
            rows: 1,
            part,
            parsed_data,
        },
        fields,
    };
    if encoded_len(&row.chunk) + metadata <= MAX_PAYLOAD_BYTES {
        return vec![input(&row.chunk[..], None, fields, None).into_event(source)];
    }
    let contents = parts_of(&row.chunk, MAX_CONTENT_PART_BYTES);
    let is_large = metadata > 2 * MAX_DATA_PART_BYTES;
    let data = row
        .parsed_data
        .as_deref()
        .filter(|_| is_large)
        .unwrap_or_default();
    let data = if is_large {
        parts_of(data.as_bytes(), MAX_DATA_PART_BYTES)
    } else {
        Vec::new()
    };
    let count = contents.len().max(data.len());
    let parts = (0..count).map(|part| {
        let content = contents.get(part).copied().unwrap_or_default();
        let text = data
            .get(part)
            .map(|data| String::from_utf8_lossy(data).into_owned());
        let mut fields = fields.clone();
        if let Some(fields) = fields.as_mut().filter(|_| is_large || part > 0) {
            fields.metadata = Row::default();
        }
        input(content, Some((part, count)), fields, text).into_event(source)
    });
    parts.collect()
}

fn encoded_len(bytes: &[u8]) -> usize {
    if super::is_text(bytes) {
        bytes.len()
    } else {
        bytes.len().div_ceil(3) * 4
    }
}

/// Cuts `bytes` between characters into parts of at most `max` bytes; at least one, which may be empty.
fn parts_of(bytes: &[u8], max: usize) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while rest.len() > max {
        let is_char_start = |back: &usize| rest[max - back] & 0xc0 != 0x80;
        let (part, others) = rest.split_at(max - (0..4).find(is_char_start).unwrap_or(0));
        parts.push(part);
        rest = others;
    }
    parts.push(rest);
    parts
}
