//! Selection of the rows of a read from the entries that were fetched. Pure.
//!
//! An entry's id is the offset of its last event, so the first entry at or behind `before` may still
//! hold events within the bounds, and the first behind `after` some outside.

use std::collections::HashSet;

use event::{ConversationId, PartitionId, Position, Seq, StoredEvent, TenantId};
use event_proto::PackedEvent;

use crate::error::{Error, Result};

/// The part of a conversation to read: `(seq, idx)` offsets within the partition, both exclusive, and
/// bytes; `None` is unbounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pub after: Option<(Seq, u16)>,
    pub before: Option<(Seq, u16)>,
    /// End with the row by which content and metadata have so many bytes.
    pub max_bytes: Option<usize>,
}

/// The order of the rows of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// The offsets of a conversation's duplicates.
pub(crate) type Duplicates = HashSet<(Seq, u16)>;

/// The conversation, bounds, order and most rows of one read.
#[derive(Debug)]
pub(crate) struct ReadRequest<'a> {
    pub(crate) partition: PartitionId,
    pub(crate) tenant: &'a TenantId,
    pub(crate) conversation: &'a ConversationId,
    pub(crate) bounds: Bounds,
    pub(crate) order: Order,
    pub(crate) limit: usize,
}

/// The range in which the tier had all events of a conversation at the time of a page: from `floor`
/// to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompleteRange {
    /// The conversation's floor.
    pub(crate) floor: Seq,
    pub(crate) last: Seq,
}

/// Collects the rows of a read from its entries.
#[derive(Debug)]
pub(crate) struct RowCollector<'a> {
    request: &'a ReadRequest<'a>,
    range: CompleteRange,
    key: &'a str,
    pub(crate) rows: Vec<StoredEvent>,
    bytes: usize,
    /// The bytes of the bounds ended the read.
    pub(crate) is_cut: bool,
    /// The number of duplicates passed over so far.
    pub(crate) passed_over: usize,
    /// No further entry can add a row.
    pub(crate) done: bool,
}

impl<'a> RowCollector<'a> {
    /// A collector of the entries under `key`.
    pub(crate) fn new(request: &'a ReadRequest<'a>, range: CompleteRange, key: &'a str) -> Self {
        Self {
            request,
            range,
            key,
            rows: Vec::new(),
            bytes: 0,
            is_cut: false,
            passed_over: 0,
            done: request.limit == 0,
        }
    }

    /// The number of rows left up to the limit.
    pub(crate) fn remaining(&self) -> usize {
        self.request.limit - self.rows.len()
    }

    /// Adds the rows of an entry, whose events ascend; entries must come in the order of the request.
    pub(crate) fn add(
        &mut self,
        mut events: Vec<PackedEvent>,
        duplicates: &Duplicates,
    ) -> Result<()> {
        if self.done {
            return Ok(());
        }
        if self.request.order == Order::Descending {
            events.reverse();
        }
        for event in events {
            let offset = (event.seq, event.idx);
            if self.is_past_end(offset) {
                self.done = true;
                break;
            }
            if self.is_before_start(offset) {
                continue;
            }
            if duplicates.contains(&offset) {
                self.passed_over += 1;
                continue;
            }
            let decoded = event
                .encoded
                .decode(self.request.tenant)
                .map_err(|error| Error::damaged(self.key, error))?;
            if decoded.conversation_id != *self.request.conversation {
                return Err(Error::shape(self.key, "conversation_id"));
            }
            self.bytes += decoded.content.len() + decoded.metadata.len();
            self.rows.push(StoredEvent {
                event: decoded,
                position: Position::new(self.request.partition, event.seq, event.idx),
                received_at: event.received_at,
                crc32c: event.encoded.crc32c,
                sample_rate: 1.0,
            });
            let max_bytes = self.request.bounds.max_bytes.unwrap_or(usize::MAX);
            if self.rows.len() == self.request.limit || self.bytes >= max_bytes {
                self.is_cut = self.rows.len() < self.request.limit;
                self.done = true;
                break;
            }
        }
        Ok(())
    }

    /// Returns whether the offset is at or below `after`, or below the floor.
    fn is_too_old(&self, offset: (Seq, u16)) -> bool {
        offset.0 < self.range.floor || self.request.bounds.after.is_some_and(|a| offset <= a)
    }

    /// Returns whether the offset is at or above `before`, or above the cursor of the range.
    fn is_too_new(&self, offset: (Seq, u16)) -> bool {
        offset.0 > self.range.last || self.request.bounds.before.is_some_and(|b| offset >= b)
    }

    fn is_past_end(&self, offset: (Seq, u16)) -> bool {
        match self.request.order {
            Order::Ascending => self.is_too_new(offset),
            Order::Descending => self.is_too_old(offset),
        }
    }

    fn is_before_start(&self, offset: (Seq, u16)) -> bool {
        match self.request.order {
            Order::Ascending => self.is_too_old(offset),
            Order::Descending => self.is_too_new(offset),
        }
    }
}
