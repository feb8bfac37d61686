//! Legacy rows -> events: single characters of output become chunks again. Pure.
//!
//! Where a chunk ends depends on rows alone: on a row with data of its own, on a pause, on size, on
//! bytes that are no text, and on the distance in the table. Never on where a page ended or a run
//! was interrupted.

use std::collections::BTreeMap;

use event::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    ids,
    legacy::{LegacyRow, Origin},
};

mod planned;

use planned::Piece;
pub(super) use planned::Planned;

/// Most bytes that are coalesced.
const MAX_CHUNK: usize = 4 * 1024;
/// Most microseconds between two rows of one chunk.
const MAX_GAP_MICROS: u64 = 1_000_000;
/// A chunk reaches over no more of the table than this, which bounds how many are open and how much
/// is read again by a run that resumes.
const MAX_SPAN: i64 = 100_000;

/// How far a run is: enough to go on as if it had never stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Every row up to here is in an event, or in an open chunk.
    pub(super) rowid: i64,
    /// The first row of the open chunk of each conversation.
    pub(super) open: BTreeMap<String, i64>,
    /// Where runs began to end: borders, so that a table that has grown is cut as it was before.
    pub(super) ends: Vec<i64>,
}

impl Mark {
    pub(super) fn start() -> Self {
        Self {
            rowid: i64::MIN,
            open: BTreeMap::new(),
            ends: Vec::new(),
        }
    }

    /// The row behind which reading must begin.
    pub(super) fn read_after(&self) -> i64 {
        let oldest = self.open.values().min();
        oldest.map_or(self.rowid, |first| first.saturating_sub(1).min(self.rowid))
    }
}

/// The table is not what it was when the mark was made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changed;

/// Plain rows of one conversation that will become one event.
#[derive(Debug)]
struct Open {
    first_rowid: i64,
    first_id: String,
    rows: u64,
    at: Timestamp,
    last_at: Timestamp,
    is_text: bool,
    bytes: Vec<u8>,
}

impl Open {
    fn takes(&self, row: &LegacyRow) -> bool {
        self.bytes.len() + row.chunk.len() <= MAX_CHUNK
            && self.is_text == is_text(&row.chunk)
            && self.last_at.as_micros().abs_diff(row.at.as_micros()) <= MAX_GAP_MICROS
    }
}

#[derive(Debug)]
pub(super) struct Chunker {
    /// Of the database; makes ids of two databases differ.
    source: String,
    resumed: Mark,
    rowid: i64,
    ends_passed: usize,
    open: BTreeMap<String, Open>,
    /// The open conversations by their first row.
    ages: BTreeMap<i64, String>,
}

impl Chunker {
    pub(super) fn new(source: &str, mark: Mark) -> Self {
        Self {
            source: source.to_owned(),
            rowid: i64::MIN,
            resumed: mark,
            ends_passed: 0,
            open: BTreeMap::new(),
            ages: BTreeMap::new(),
        }
    }

    /// Takes the next row by rowid, from [`Mark::read_after`] on; returns the events that are
    /// complete now, in order per conversation.
    pub(super) fn push(&mut self, row: &LegacyRow) -> Result<Vec<Planned>, Changed> {
        if row.rowid <= self.resumed.rowid {
            return self.replay(row).map(|()| Vec::new());
        }
        self.check_resumed()?;
        Ok(self.take(row))
    }

    /// The last row before a border that `ends` knows was taken.
    pub(super) fn finish(&mut self, end: i64) -> Result<Vec<Planned>, Changed> {
        self.check_resumed()?;
        self.rowid = self.rowid.max(end);
        Ok(self.close_all())
    }

    pub(super) fn mark(&self) -> Mark {
        let open = self.open.iter();
        Mark {
            rowid: self.rowid.max(self.resumed.rowid),
            open: open
                .map(|(name, open)| (name.clone(), open.first_rowid))
                .collect(),
            ends: self.resumed.ends.clone(),
        }
    }

    /// Rows that were read before, and only fill what was open.
    fn replay(&mut self, row: &LegacyRow) -> Result<(), Changed> {
        let first = self.resumed.open.get(row.conversation.as_str());
        if first.is_none_or(|first| row.rowid < *first) {
            return Ok(());
        }
        if self.take(row).is_empty() {
            Ok(())
        } else {
            Err(Changed)
        }
    }

    fn check_resumed(&self) -> Result<(), Changed> {
        let is_behind = self.rowid > self.resumed.rowid;
        if is_behind || self.mark().open == self.resumed.open {
            Ok(())
        } else {
            Err(Changed)
        }
    }

    fn take(&mut self, row: &LegacyRow) -> Vec<Planned> {
        let mut planned = self.close_before(row.rowid);
        self.rowid = row.rowid;
        let name = row.conversation.as_str();
        if row.parsed_data.is_some() || row.chunk.len() > MAX_CHUNK {
            planned.extend(self.close(name));
            planned.extend(planned::single(&self.source, row));
            return planned;
        }
        if !self.open.get(name).is_some_and(|open| open.takes(row)) {
            planned.extend(self.close(name));
            self.begin(row);
        }
        let open = self
            .open
            .get_mut(name)
            .expect("it takes the row, or was begun for it");
        open.bytes.extend_from_slice(&row.chunk);
        open.rows += 1;
        open.last_at = row.at;
        planned
    }

    fn begin(&mut self, row: &LegacyRow) {
        let open = Open {
            first_rowid: row.rowid,
            first_id: row.id.clone(),
            rows: 0,
            at: row.at,
            last_at: row.at,
            is_text: is_text(&row.chunk),
            bytes: Vec::new(),
        };
        self.open.insert(row.conversation.to_string(), open);
        self.ages.insert(row.rowid, row.conversation.to_string());
    }

    /// Closes what the distance to `rowid`, or a border between, ends.
    fn close_before(&mut self, rowid: i64) -> Vec<Planned> {
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
        while let Some((first, name)) = self.ages.first_key_value()
            && rowid.saturating_sub(*first) >= MAX_SPAN
        {
            let name = name.clone();
            planned.extend(self.close(&name));
        }
        planned
    }

    fn close_all(&mut self) -> Vec<Planned> {
        let names: Vec<String> = self.ages.values().cloned().collect();
        names.iter().filter_map(|name| self.close(name)).collect()
    }

    fn close(&mut self, name: &str) -> Option<Planned> {
        let open = self.open.remove(name)?;
        self.ages.remove(&open.first_rowid);
        let piece = Piece {
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
        Some(piece.planned(&self.source))
    }
}

/// Whether it can be sent as text.
fn is_text(bytes: &[u8]) -> bool {
    !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok()
}

/// The id of the event that was made of these rows; verifying makes it again from what it reads.
pub(super) fn event_id(source: &str, conversation: &str, at: Timestamp, origin: &Origin) -> Uuid {
    let (part, parts) = origin.part.unwrap_or((0, 1));
    let numbers = format!("{}-{part}-{parts}", origin.rows);
    let parts = [source, conversation, &origin.first_id, &numbers];
    ids::derived(at, &parts.map(str::as_bytes))
}

#[cfg(test)]
mod tests;
