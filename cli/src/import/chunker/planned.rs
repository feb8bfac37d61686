//! An event as it will be sent, and a row too large for one cut into several.

use event::Timestamp;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::event_id;
use crate::{
    draft::{Content, Draft},
    import::legacy::{Fields, LegacyRow, Origin},
    output::Row,
};

const OUTPUT: &str = "output.chunk";

/// Content and metadata of one event; the rest of [`event::MAX_EVENT_BYTES`] is for its other fields.
const MAX_BYTES: usize = event::MAX_EVENT_BYTES - 8 * 1024;
/// A part of larger content: base64 of it, and metadata, still fit.
const MAX_PIECE: usize = 128 * 1024;
/// A part of larger metadata: twice that, as a JSON string, still fits.
const MAX_DATA: usize = 32 * 1024;

/// One event to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::import) struct Planned {
    pub(in crate::import) conversation: String,
    pub(in crate::import) event_id: Uuid,
    /// The first row that it was made of.
    pub(in crate::import) first_id: String,
    pub(in crate::import) first_rowid: i64,
    /// So many rows are in it; those of a row in several events count in its first.
    pub(in crate::import) rows: u64,
    pub(in crate::import) line: String,
}

/// What becomes one event.
pub(super) struct Piece<'a> {
    pub(super) conversation: &'a str,
    pub(super) at: Timestamp,
    pub(super) first_rowid: i64,
    pub(super) content: &'a [u8],
    pub(super) origin: Origin,
    pub(super) fields: Option<Fields>,
}

impl Piece<'_> {
    pub(super) fn planned(self, source: &str) -> Planned {
        let event_id = event_id(source, self.conversation, self.at, &self.origin);
        let (event_type, task_id, metadata) = match self.fields {
            Some(fields) => (fields.event_type, fields.task_id, fields.metadata),
            None => (OUTPUT.to_owned(), None, Row::default()),
        };
        // A member of that name is the producer's own.
        let name = if metadata.get("legacy").is_none() {
            "legacy"
        } else {
            "isotherm_legacy"
        };
        let metadata = metadata.with(name, &self.origin).json();
        let draft = Draft {
            event_id: event_id.to_string(),
            conversation_id: self.conversation,
            task_id: task_id.as_deref(),
            event_type: &event_type,
            timestamp: Some(self.at.to_string()),
            content: Content::new(self.content),
            metadata: Some(RawValue::from_string(metadata).expect("a row's JSON form is JSON")),
        };
        let is_first = self.origin.part.is_none_or(|(part, _)| part == 0);
        Planned {
            first_rowid: self.first_rowid,
            rows: if is_first { self.origin.rows } else { 0 },
            conversation: self.conversation.to_owned(),
            event_id,
            first_id: self.origin.first_id,
            line: draft.line(),
        }
    }
}

/// A row that is an event, or several when it is too large for one.
pub(super) fn single(source: &str, row: &LegacyRow) -> Vec<Planned> {
    let fields = row.parsed_data.as_deref().map(Fields::of);
    let metadata = fields
        .as_ref()
        .map_or(0, |fields| fields.metadata.json().len());
    let piece = |content, part, fields, parsed_data| Piece {
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
    if encoded_len(&row.chunk) + metadata <= MAX_BYTES {
        return vec![piece(&row.chunk[..], None, fields, None).planned(source)];
    }
    let contents = pieces(&row.chunk, MAX_PIECE);
    let is_large = metadata > 2 * MAX_DATA;
    let data = row
        .parsed_data
        .as_deref()
        .filter(|_| is_large)
        .unwrap_or_default();
    let data = if is_large {
        pieces(data.as_bytes(), MAX_DATA)
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
        piece(content, Some((part, count)), fields, text).planned(source)
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

/// `bytes` cut between characters into pieces of at most `max`; one empty piece for nothing.
fn pieces(bytes: &[u8], max: usize) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while rest.len() > max {
        let is_border = |back: &usize| rest[max - back] & 0xc0 != 0x80;
        let (piece, others) = rest.split_at(max - (0..4).find(is_border).unwrap_or(0));
        pieces.push(piece);
        rest = others;
    }
    pieces.push(rest);
    pieces
}
