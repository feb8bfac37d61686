//! The input and the result of an append.

use event::{Seq, SeqRange, StoredEvent};

use crate::duplicates::Duplicate;

/// The result of an append.
#[derive(Debug, Default)]
pub struct Appended {
    /// Number of new events.
    pub stored: u64,
    /// Bytes of content of the new events.
    pub bytes: u64,
    /// The duplicates, in log order.
    pub dropped: Vec<Duplicate>,
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
}
