//! How far a partition has read the log, as a note beside the manifest: a log that has lost its end, or
//! another log, is recognized by it even when nothing of the open part was sealed.
//!
//! The note is not synced: after a power failure it may be older or gone, and then says less, never more.

use std::{fs, path::Path};

use event::{PartitionId, Position, Seq};
use serde::{Deserialize, Serialize};

use crate::{
    disk,
    error::{Error, Result},
    layout,
};

/// The position and the checksum of an event, by which a log is recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogAnchor {
    pub position: Position,
    pub crc32c: u32,
}

/// The end of the log as a partition has read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogEnd {
    /// The last sequence that was read; 0 before the first.
    pub through: Seq,
    /// The last event that was read. `None` when none was, or none is known any more.
    pub anchor: Option<LogAnchor>,
}

/// The note as JSON: `{"through":40,"event":[40,2,3735928559]}`.
#[derive(Serialize, Deserialize)]
struct Note {
    through: Seq,
    event: Option<(Seq, u16, u32)>,
}

/// Replaces the note in `dir`.
pub(crate) fn write(dir: &Path, end: &LogEnd) -> Result<()> {
    let event = end
        .anchor
        .map(|own| (own.position.seq, own.position.idx, own.crc32c));
    let note = Note {
        through: end.through,
        event,
    };
    let json = serde_json::to_vec(&note).expect("numbers always have a JSON form");
    let (path, staged) = (dir.join(layout::LOG_END), dir.join(layout::LOG_END_STAGED));
    fs::write(&staged, json).map_err(Error::file("write", &staged))?;
    disk::rename(&staged, &path)
}

/// Reads the note in `dir` of `partition`; `None` when there is none that can be read.
pub(crate) fn read(dir: &Path, partition: PartitionId) -> Option<LogEnd> {
    let bytes = fs::read(dir.join(layout::LOG_END)).ok()?;
    let note: Note = serde_json::from_slice(&bytes).ok()?;
    let anchor = note.event.map(|(seq, idx, crc32c)| LogAnchor {
        position: Position::new(partition, seq, idx),
        crc32c,
    });
    Some(LogEnd {
        through: note.through,
        anchor,
    })
}
