//! Legacy rows -> events: joins rows of single characters into chunks of output. Pure.
//!
//! The end of a chunk depends on the rows alone: on a row with data of its own, a pause, the size, bytes
//! that are no text, and the distance in the table. It never depends on where a page ended or a run was
//! interrupted.

use std::collections::BTreeMap;

use event::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    ids,
    legacy::{LegacyRow, Origin},
};

mod planned;

use planned::EventInput;
pub(super) use planned::PlannedEvent;

/// Maximum bytes of a chunk of several rows.
const MAX_CHUNK_BYTES: usize = 4 * 1024;
/// Maximum microseconds between two rows of one chunk.
const MAX_GAP_MICROS: u64 = 1_000_000;
/// Maximum distance in rowids between the first and the last row of a chunk. It bounds the number of
/// open chunks, and how much a resumed run reads again.
const MAX_ROWID_SPAN: i64 = 100_000;

/// Progress of an import, sufficient to resume it with the same result as without an interruption.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ResumePoint {
    /// Every row up to here is in an event, or in an open chunk.
    pub(super) rowid: i64,
    /// The first row of the open chunk of each conversation.
    pub(super) open: BTreeMap<String, i64>,
    /// The last rowid of each run. A chunk never reaches over one, so that a table that has grown is cut as
    /// it was before.
    pub(super) ends: Vec<i64>,
}

impl ResumePoint {
    pub(super) fn start() -> Self {
        Self {
            rowid: i64::MIN,
            open: BTreeMap::new(),
            ends: Vec::new(),
        }
    }

    /// Returns the rowid behind which reading must begin, so that the open chunks are read again.
    pub(super) fn read_after(&self) -> i64 {
        let oldest = self.open.values().min();
        oldest.map_or(self.rowid, |first| first.saturating_sub(1).min(self.rowid))
    }
}

/// The error when rows before the resume point have changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TableChanged;

/// Plain rows of one conversation that will become one event, as far as they were read.
#[derive(Debug)]
struct OpenChunk {
    first_rowid: i64,
    first_id: String,
    rows: u64,
    at: Timestamp,
    last_at: Timestamp,
    is_text: bool,
    bytes: Vec<u8>,
}

impl OpenChunk {
    fn accepts(&self, row: &LegacyRow) -> bool {
        self.bytes.len() + row.chunk.len() <= MAX_CHUNK_BYTES
            && self.is_text == is_text(&row.chunk)
            && self.last_at.as_micros().abs_diff(row.at.as_micros()) <= MAX_GAP_MICROS
    }
}

/// The state of cutting one table into events.
#[derive(Debug)]
pub(super) struct Chunker {
    /// Identity of the database; part of the ids, so that those of two databases differ.
    source: String,
    resumed: ResumePoint,
    rowid: i64,
    ends_passed: usize,
    open: BTreeMap<String, OpenChunk>,
    /// The conversations with an open chunk, by the first rowid of it.
    open_by_first_rowid: BTreeMap<i64, String>,
}

impl Chunker {
    pub(super) fn new(source: &str, resume_point: ResumePoint) -> Self {
        Self {
            source: source.to_owned(),
            rowid: i64::MIN,
            resumed: resume_point,
            ends_passed: 0,
            open: BTreeMap::new(),
            open_by_first_rowid: BTreeMap::new(),
        }
    }

    /// Adds the next row by rowid, beginning behind [`ResumePoint::read_after`]. Returns the events that are
    /// complete now, in order per conversation.
    pub(super) fn push(&mut self, row: &LegacyRow) -> Result<Vec<PlannedEvent>, TableChanged> {
        if row.rowid <= self.resumed.rowid {
            return self.replay(row).map(|()| Vec::new());
        }
        self.check_resumed()?;
        Ok(self.append(row))
    }

    /// Completes all chunks at `end`, the last rowid of this run, after its last row was added.
    pub(super) fn finish(&mut self, end: i64) -> Result<Vec<PlannedEvent>, TableChanged> {
        self.check_resumed()?;
        self.rowid = self.rowid.max(end);
        Ok(self.close_all())
    }

    /// Returns the point from which a later run can resume.
    pub(super) fn resume_point(&self) -> ResumePoint {
        let open = self.open.iter();
        ResumePoint {
            rowid: self.rowid.max(self.resumed.rowid),
            open: open
                .map(|(name, open)| (name.clone(), open.first_rowid))
                .collect(),
            ends: self.resumed.ends.clone(),
        }
    }

    /// Adds a row from before the resume point: it only refills a chunk that was open there.
    fn replay(&mut self, row: &LegacyRow) -> Result<(), TableChanged> {
        let first = self.resumed.open.get(row.conversation.as_str());
        if first.is_none_or(|first| row.rowid < *first) {
            return Ok(());
        }
        if self.append(row).is_empty() {
            Ok(())
        } else {
            Err(TableChanged)
        }
    }

    fn check_resumed(&self) -> Result<(), TableChanged> {
        let is_behind = self.rowid > self.resumed.rowid;
        if is_behind || self.resume_point().open == self.resumed.open {
            Ok(())
        } else {
            Err(TableChanged)
        }
    }

    /// Adds a row to the open chunk of its conversation, and returns the events that this completes.
    fn append(&mut self, row: &LegacyRow) -> Vec<PlannedEvent> {
        let mut planned = self.close_before(row.rowid);
        self.rowid = row.rowid;
        let name = row.conversation.as_str();
        if row.parsed_data.is_some() || row.chunk.len() > MAX_CHUNK_BYTES {
            planned.extend(self.close(name));
            planned.extend(planned::single(&self.source, row));
            return planned;
        }
        if !self.open.get(name).is_some_and(|open| open.accepts(row)) {
            planned.extend(self.close(name));
            self.begin(row);
        }
        let open = self
            .open
            .get_mut(name)
            .expect("it was open, or was begun for this row");
        open.bytes.extend_from_slice(&row.chunk);
        open.rows += 1;
        open.last_at = row.at;
        planned
    }

    fn begin(&mut self, row: &LegacyRow) {
        let open = OpenChunk {
            first_rowid: row.rowid,
            first_id: row.id.clone(),
            rows: 0,
            at: row.at,
            last_at: row.at,
            is_text: is_text(&row.chunk),
            bytes: Vec::new(),
        };
        self.open.insert(row.conversation.to_string(), open);
        self.open_by_first_rowid
            .insert(row.rowid, row.conversation.to_string());
    }

    /// Closes the chunks that end before `rowid`: by distance, or because a run ended in between.
    fn close_before(&mut self, rowid: i64) -> Vec<PlannedEvent> {
        let mut planned = Vec::new();
        while self
            .resumed
            .ends
            .get(self.ends_passed)
            .is_some_and(|end| *end < rowid)
        {
            self.ends_passed += 1;
            planned.extend(self.close_all());
        }
        while let Some((first, name)) = self.open_by_first_rowid.first_key_value()
            && rowid.saturating_sub(*first) >= MAX_ROWID_SPAN
        {
            let name = name.clone();
            planned.extend(self.close(&name));
        }
        planned
    }

    fn close_all(&mut self) -> Vec<PlannedEvent> {
        let names: Vec<String> = self.open_by_first_rowid.values().cloned().collect();
        names.iter().filter_map(|name| self.close(name)).collect()
    }

    fn close(&mut self, name: &str) -> Option<PlannedEvent> {
        let open = self.open.remove(name)?;
        self.open_by_first_rowid.remove(&open.first_rowid);
        let input = EventInput {
            conversation: name,
            at: open.at,
            first_rowid: open.first_rowid,
            content: &open.bytes,
            origin: Origin {
                first_id: open.first_id,
                rows: open.rows,
                part: None,
                parsed_data: None,
            },
            fields: None,
        };
        Some(input.into_event(&self.source))
    }
}

/// True when the bytes can be sent as text.
fn is_text(bytes: &[u8]) -> bool {
    !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok()
}

/// Derives the id of the event that was made of these rows. The verification derives it again from the
/// event that it reads.
pub(super) fn event_id(source: &str, conversation: &str, at: Timestamp, origin: &Origin) -> Uuid {
    let (part, parts) = origin.part.unwrap_or((0, 1));
    let numbers = format!("{}-{part}-{parts}", origin.rows);
    let parts = [source, conversation, &origin.first_id, &numbers];
    ids::derived(at, &parts.map(str::as_bytes))
}

#[cfg(test)]
mod tests;
