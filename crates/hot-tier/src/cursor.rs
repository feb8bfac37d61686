//! The cursor of a partition: how far the log was copied, and what the tier holds.

use std::collections::HashMap;

use event::{Seq, Timestamp};

use crate::error::{Error, Result};

/// The progress and size of one partition of the hot tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotCursor {
    pub epoch: u16,
    /// The last sequence of the log that was copied.
    pub last: Seq,
    /// The smallest sequence from which the tier has everything, but for conversations with a
    /// higher floor of their own.
    pub floor: Seq,
    /// Duplicates up to this sequence are known and filtered out.
    pub checked: Seq,
    /// Events that the tier holds.
    pub events: u64,
    /// Bytes of the packs that the tier holds.
    pub bytes: u64,
}

/// A partition's cursor and the time of its oldest event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    pub cursor: HotCursor,
    /// When the log took the oldest event that the tier holds.
    pub oldest_at: Option<Timestamp>,
}

/// A Redis hash as it was read.
pub(crate) type Fields = HashMap<String, String>;

impl HotCursor {
    /// Parses the hash of `key`; `None` when it does not exist.
    pub(crate) fn parse(key: &str, fields: &Fields) -> Result<Option<Self>> {
        if fields.is_empty() {
            return Ok(None);
        }
        let number = |name: &'static str| -> Result<u64> {
            let text = fields.get(name).map_or("0", String::as_str);
            // Counters never fall below zero; if one did, reading goes on with 0.
            let number: i64 = text.parse().map_err(|_| Error::shape(key, name))?;
            Ok(number.max(0).cast_unsigned())
        };
        Ok(Some(Self {
            epoch: u16::try_from(number("epoch")?).map_err(|_| Error::shape(key, "epoch"))?,
            last: number("last")?,
            floor: number("floor")?,
            checked: number("checked")?,
            events: number("events")?,
            bytes: number("bytes")?,
        }))
    }
}

/// The integer that a sorted-set score holds: a sequence or microseconds, below 2^53, so exact.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "scores are whole numbers between 0 and 2^53"
)]
pub(crate) fn from_score(score: f64) -> u64 {
    score as u64
}
