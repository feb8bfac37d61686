//! The input and the result of an append.

use event::{Seq, SeqRange, StoredEvent};

use crate::{duplicates::Duplicate, error::Error};

/// The result of an append.
#[derive(Debug, Default)]
pub struct Appended {
    /// Number of new events.
    pub stored: u64,
    /// Bytes of content of the new events.
    pub bytes: u64,
    /// The duplicates, in log order.
    pub dropped: Vec<Duplicate>,
    /// The last sequence that is stored.
    pub through: Seq,
    /// Why the frames behind `through` are not stored: DuckDB has no memory for the next one alone.
    pub refused: Option<Error>,
}

impl Appended {
    /// Nothing behind `through` is stored, because of `error`.
    pub(crate) fn refused(through: Seq, error: Error) -> Self {
        Self {
            through,
            refused: Some(error),
            ..Self::default()
        }
    }
}

/// Decoded and checked frames of the log.
#[derive(Debug)]
pub struct Frames {
    /// Without a gap.
    pub range: SeqRange,
    /// In log order.
    pub events: Vec<StoredEvent>,
    /// The sequences of frames that could not be decoded, whole or in part, ascending.
    pub dead_letters: Vec<Seq>,
    /// Bytes of canonical events.
    pub encoded_bytes: u64,
}
