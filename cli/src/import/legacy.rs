//! Parser of the rows of the legacy table. Pure.

use std::{collections::HashSet, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use event::{ConversationId, EventType, Timestamp};
use serde::{Deserialize, Serialize};

use crate::output::Row;

const EVENT: &str = "event";
/// Maximum bytes of a task id that ingest accepts; longer ones stay in the metadata.
const MAX_TASK_BYTES: usize = 256;
/// Maximum nesting of an object; deeper ones are kept as text, because not every JSON parser reads them.
const MAX_DEPTH: usize = 60;

/// A row as it is in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawRow {
    pub(super) rowid: i64,
    pub(super) id: String,
    pub(super) conversation: String,
    pub(super) chunk: Vec<u8>,
    /// `None` for a piece of plain output.
    pub(super) parsed_data: Option<String>,
    pub(super) timestamp: String,
}

/// A row that can become an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LegacyRow {
    pub(super) rowid: i64,
    pub(super) id: String,
    pub(super) conversation: ConversationId,
    pub(super) chunk: Vec<u8>,
    pub(super) parsed_data: Option<String>,
    pub(super) at: Timestamp,
}

/// The error of a row that cannot become an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadRow {
    rowid: i64,
    id: String,
    /// Error code, one of those of ingest where it has one.
    pub(super) code: &'static str,
    reason: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rowid, id, reason, ..
        } = self;
        write!(f, "row {id:?} (rowid {rowid}): {reason}")
    }
}

impl std::error::Error for BadRow {}

/// The rows that an event was made of, in `metadata.legacy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub(super) first_id: String,
    pub(super) rows: u64,
    /// For a row too large for one event: the index of the part, and the number of parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<(usize, usize)>,
    /// A part of `parsed_data`, when that is too large for one event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) parsed_data: Option<String>,
}

impl LegacyRow {
    /// Checks and converts a row; `latest` is the latest accepted timestamp.
    pub(super) fn new(raw: RawRow, latest: Timestamp) -> Result<Self, BadRow> {
        let checked = check(&raw, latest);
        let (at, conversation) = checked.map_err(|(code, reason)| BadRow {
            rowid: raw.rowid,
            id: raw.id.chars().take(64).collect(),
            code,
            reason,
        })?;
        let has_data = |text: &String| !matches!(text.trim(), "" | "null");
        Ok(Self {
            rowid: raw.rowid,
            id: raw.id,
            conversation,
            chunk: raw.chunk,
            parsed_data: raw.parsed_data.filter(has_data),
            at,
        })
    }
}

/// Returns the time and the conversation, or a code and a message.
fn check(
    raw: &RawRow,
    latest: Timestamp,
) -> Result<(Timestamp, ConversationId), (&'static str, String)> {
    if raw.id.is_empty() {
        return Err(("missing_id", "it has no id".to_owned()));
    }
    let conversation = ConversationId::new(&raw.conversation)
        .map_err(|error| ("invalid_conversation_id", error.to_string()))?;
    let at = time(&raw.timestamp).ok_or_else(|| {
        let shown: String = raw.timestamp.chars().take(64).collect();
        let sentence = format!(
            "the timestamp {shown:?} is no time; write it as 2026-11-20T09:00:00.021384Z or \
             2026-11-20 09:00:00.021 (UTC)"
        );
        ("invalid_timestamp", sentence)
    })?;
    if at > latest {
        let sentence = format!("the timestamp {at} is in the future");
        return Err(("timestamp_in_future", sentence));
    }
    Ok((at, conversation))
}

/// Parses RFC 3339, or SQLite's own `2026-11-20 09:00:00.021`, which is UTC.
fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    text.parse()
        .ok()
        .or_else(|| format!("{text}Z").parse().ok())
}

/// The fields of an event from the legacy column `parsed_data`.
#[derive(Clone, Debug)]
pub(super) struct ParsedData {
    pub(super) event_type: String,
    pub(super) task_id: Option<String>,
    /// Every other member, with the text of its value unchanged.
    pub(super) metadata: Row,
}

impl ParsedData {
    /// Parses the column; a text that is no plain object is kept whole in the metadata.
    pub(super) fn parse(parsed_data: &str) -> Self {
        let mut metadata = object(parsed_data).unwrap_or_else(|| as_text(parsed_data));
        let text = |metadata: &Row, name: &str| {
            let is_text = metadata
                .get(name)
                .is_some_and(|value| value.get().starts_with('"'));
            is_text.then(|| metadata.text(name))
        };
        let event_type = text(&metadata, "type").filter(|text| EventType::new(text).is_ok());
        let fits = |text: &String| !text.is_empty() && text.len() <= MAX_TASK_BYTES;
        let task_id = text(&metadata, "task_id").filter(fits);
        if event_type.is_some() {
            metadata.remove("type");
        }
        if task_id.is_some() {
            metadata.remove("task_id");
        }
        Self {
            event_type: event_type.unwrap_or_else(|| EVENT.to_owned()),
            task_id,
            metadata,
        }
    }
}

/// Parses an object that every JSON parser can read: no repeated names, no NUL, at most
/// [`MAX_DEPTH`] levels.
fn object(text: &str) -> Option<Row> {
    let row: Row = serde_json::from_str(text).ok()?;
    let mut names = HashSet::new();
    let is_plain = row.names().all(|name| names.insert(name))
        && !text.contains("\\u0000")
        && depth(text) <= MAX_DEPTH;
    is_plain.then_some(row)
}

fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Keeps any other text whole, as base64 when it has a NUL.
fn as_text(text: &str) -> Row {
    if text.contains('\0') {
        return Row::default().with("parsed_data_base64", STANDARD.encode(text));
    }
    Row::default().with("parsed_data", text)
}

#[cfg(test)]
mod tests;
