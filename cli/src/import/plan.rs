//! Legacy rows -> events. Single characters of output become chunks again. Pure.
//!
//! Where a chunk ends depends on rows alone: on a row with data of its own, on a pause, on size,
//! and on how many rows lie between. Never on where a page ended or a run was interrupted.

use std::collections::BTreeMap;

use event::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    draft::{Content, Draft, derived_id},
    output::Row,
};

/// Most bytes that are coalesced.
pub(super) const MAX_CHUNK: usize = 4 * 1024;
/// Most microseconds between two rows of one chunk.
const MAX_GAP_MICROS: i64 = 1_000_000;
/// A chunk spans no more rows of the table than this, so that few of them are open at a time.
const MAX_SPAN: i64 = 10_000;
/// Larger contents become several events: base64 of it still fits into one event.
const MAX_PIECE: usize = 128 * 1024;

const OUTPUT: &str = "output.chunk";

/// A row of the legacy table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LegacyRow {
    pub(super) rowid: i64,
    pub(super) id: String,
    pub(super) conversation: String,
    pub(super) chunk: Vec<u8>,
    pub(super) parsed_data: Option<String>,
    pub(super) timestamp: String,
}

/// One event to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) conversation: String,
    pub(super) event_id: Uuid,
    pub(super) content: Vec<u8>,
    pub(super) line: String,
}

/// Plain rows of one conversation that will become one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    first_rowid: i64,
    first_id: String,
    last_id: String,
    timestamp: String,
    /// Of the last row.
    last_at: String,
    #[serde(with = "base64_bytes")]
    bytes: Vec<u8>,
}

/// What is open after the rows so far; part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Planner {
    /// Of the database; makes ids of two databases differ.
    source: String,
    open: BTreeMap<String, Open>,
}

impl Planner {
    pub(super) fn new(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            open: BTreeMap::new(),
        }
    }

    /// Takes the next row by rowid; returns the events that are complete now, in order per
    /// conversation.
    pub(super) fn push(&mut self, row: &LegacyRow) -> Vec<Planned> {
        let mut planned = self.close_where(|open| row.rowid - open.first_rowid >= MAX_SPAN);
        if row.parsed_data.is_some() || row.chunk.len() > MAX_CHUNK {
            planned.extend(self.close(&row.conversation));
            planned.extend(self.single(row));
            return planned;
        }
        let joins = self.open.get(&row.conversation).is_some_and(|open| {
            open.bytes.len() + row.chunk.len() <= MAX_CHUNK
                && is_near(&open.last_at, &row.timestamp)
        });
        if !joins {
            planned.extend(self.close(&row.conversation));
        }
        let open = self
            .open
            .entry(row.conversation.clone())
            .or_insert_with(|| Open {
                first_rowid: row.rowid,
                first_id: row.id.clone(),
                last_id: String::new(),
                timestamp: row.timestamp.clone(),
                last_at: String::new(),
                bytes: Vec::new(),
            });
        open.bytes.extend_from_slice(&row.chunk);
        open.last_id.clone_from(&row.id);
        open.last_at.clone_from(&row.timestamp);
        planned
    }

    /// What is left after the last row.
    pub(super) fn finish(&mut self) -> Vec<Planned> {
        self.close_where(|_| true)
    }

    fn close_where(&mut self, condition: impl Fn(&Open) -> bool) -> Vec<Planned> {
        let closing = self.open.iter().filter(|(_, open)| condition(open));
        let closing: Vec<String> = closing
            .map(|(conversation, _)| conversation.clone())
            .collect();
        closing
            .iter()
            .flat_map(|conversation| self.close(conversation))
            .collect()
    }

    fn close(&mut self, conversation: &str) -> Option<Planned> {
        let open = self.open.remove(conversation)?;
        let fields = Fields {
            event_type: OUTPUT.to_owned(),
            task_id: None,
            metadata: None,
        };
        let key = [open.first_id.as_str(), open.last_id.as_str(), "0"];
        Some(self.planned(conversation, &key, &open.timestamp, &open.bytes, &fields))
    }

    /// A row that is an event, or several when it is very large.
    fn single(&self, row: &LegacyRow) -> Vec<Planned> {
        let fields = Fields::of(row.parsed_data.as_deref());
        let pieces = pieces(&row.chunk).into_iter().enumerate();
        let planned = pieces.map(|(number, piece)| {
            let number = number.to_string();
            let key = [row.id.as_str(), row.id.as_str(), number.as_str()];
            self.planned(&row.conversation, &key, &row.timestamp, piece, &fields)
        });
        planned.collect()
    }

    fn planned(
        &self,
        conversation: &str,
        key: &[&str; 3],
        timestamp: &str,
        content: &[u8],
        fields: &Fields,
    ) -> Planned {
        let at = time(timestamp);
        let parts = [&self.source, conversation, key[0], key[1], key[2]].map(str::as_bytes);
        let draft = Draft {
            event_id: derived_id(at, &parts),
            conversation_id: conversation,
            task_id: fields.task_id.as_deref(),
            event_type: &fields.event_type,
            timestamp: at.map(|at| at.to_string()),
            content: Content::new(content),
            metadata: fields.metadata.clone(),
        };
        Planned {
            conversation: conversation.to_owned(),
            event_id: draft.event_id,
            content: content.to_vec(),
            line: draft.line(),
        }
    }
}

/// What the legacy `parsed_data` says of an event.
struct Fields {
    event_type: String,
    task_id: Option<String>,
    metadata: Option<Box<RawValue>>,
}

impl Fields {
    fn of(parsed_data: Option<&str>) -> Self {
        let Some(text) = parsed_data else {
            return Self {
                event_type: OUTPUT.to_owned(),
                task_id: None,
                metadata: None,
            };
        };
        // Not an object: kept as a text.
        let row: Row =
            serde_json::from_str(text).unwrap_or_else(|_| Row::default().with("parsed_data", text));
        let said = |name: &str| Some(row.text(name)).filter(|text| !text.is_empty());
        let event_type = said("type").filter(|text| event::EventType::new(text).is_ok());
        let task_id = said("task_id");
        let mut metadata = row.clone();
        if event_type.is_some() {
            metadata.remove("type");
        }
        if task_id.is_some() {
            metadata.remove("task_id");
        }
        let metadata = (!metadata.is_empty()).then(|| metadata.json());
        Self {
            event_type: event_type.unwrap_or_else(|| OUTPUT.to_owned()),
            task_id,
            metadata: metadata.and_then(|json| RawValue::from_string(json).ok()),
        }
    }
}

/// `bytes` cut at characters into what fits into an event; one empty piece for nothing.
fn pieces(bytes: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while rest.len() > MAX_PIECE {
        let back = (0..4).find(|back| !is_inside_character(rest[MAX_PIECE - back]));
        let (piece, others) = rest.split_at(MAX_PIECE - back.unwrap_or(0));
        pieces.push(piece);
        rest = others;
    }
    pieces.push(rest);
    pieces
}

fn is_inside_character(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

fn is_near(earlier: &str, later: &str) -> bool {
    match (time(earlier), time(later)) {
        (Some(earlier), Some(later)) => {
            (later.as_micros() - earlier.as_micros()).abs() <= MAX_GAP_MICROS
        }
        _ => earlier == later,
    }
}

/// RFC 3339, SQLite's own `2026-11-20 09:00:00`, or a number of seconds, milliseconds or
/// microseconds since 1970. `None` when it is no time.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    if let Ok(number) = text.parse::<i64>() {
        let micros = match number {
            0..100_000_000_000 => number * 1_000_000,
            100_000_000_000..100_000_000_000_000 => number * 1000,
            100_000_000_000_000.. => number,
            _ => return None,
        };
        return Some(Timestamp::from_micros(micros));
    }
    format!("{}Z", text.replacen(' ', "T", 1)).parse().ok()
}

mod base64_bytes {
    //! Bytes as base64 in JSON.

    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
