//! Which events of the entries that were read belong to the answer. Pure.
//!
//! An entry's id is the position of its last event, so the first entry at or behind `before` may
//! still hold events that are wanted, and the first behind `after` some that are not.

use std::collections::HashSet;

use event::{ConversationId, PartitionId, Position, Seq, StoredEvent, TenantId};

use crate::{
    cursor::HotCursor,
    entry::Entry,
    error::{Error, Result},
    key::parse_id,
};

/// Which part of a conversation: positions within the partition, both exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pub after: Option<(Seq, u16)>,
    pub before: Option<(Seq, u16)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// The positions of duplicates.
pub(crate) type Dropped = HashSet<(Seq, u16)>;

pub(crate) fn parse_dropped(positions: &[String]) -> Dropped {
    positions.iter().filter_map(|text| parse_id(text)).collect()
}

/// What is being read.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) partition: PartitionId,
    pub(crate) tenant: &'a TenantId,
    pub(crate) conversation: &'a ConversationId,
    pub(crate) bounds: Bounds,
    pub(crate) order: Order,
    pub(crate) limit: usize,
}

/// What a page was read with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frontier {
    pub(crate) cursor: HotCursor,
    /// Of the conversation.
    pub(crate) floor: Seq,
}

/// The rows so far.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    wanted: &'a Wanted<'a>,
    frontier: Frontier,
    key: &'a str,
    pub(crate) rows: Vec<StoredEvent>,
    /// Everything that is wanted has been seen.
    pub(crate) done: bool,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(wanted: &'a Wanted<'a>, frontier: Frontier, key: &'a str) -> Self {
        Self {
            wanted,
            frontier,
            key,
            rows: Vec::new(),
            done: wanted.limit == 0,
        }
    }

    /// How many are still wanted.
    pub(crate) fn missing(&self) -> usize {
        self.wanted.limit - self.rows.len()
    }

    /// Takes what is wanted of `entry`; entries come in the order of the answer.
    pub(crate) fn take(&mut self, entry: Entry, dropped: &Dropped) -> Result<()> {
        if self.done {
            return Ok(());
        }
        let mut events = entry.events(self.key)?;
        if self.wanted.order == Order::Descending {
            events.reverse();
        }
        for event in events {
            let place = (event.seq, event.idx);
            if self.beyond(place) {
                self.done = true;
                break;
            }
            if self.before_start(place) || dropped.contains(&place) {
                continue;
            }
            let decoded = event
                .encoded
                .decode(self.wanted.tenant)
                .map_err(|error| Error::damaged(self.key, error))?;
            if decoded.conversation_id != *self.wanted.conversation {
                return Err(Error::shape(self.key, "conversation_id"));
            }
            self.rows.push(StoredEvent {
                event: decoded,
                position: Position::new(self.wanted.partition, event.seq, event.idx),
                received_at: event.received_at,
                crc32c: event.encoded.crc32c,
                sample_rate: 1.0,
            });
            if self.rows.len() == self.wanted.limit {
                self.done = true;
                break;
            }
        }
        Ok(())
    }

    /// Older than what is wanted, or not promised to be whole.
    fn too_old(&self, place: (Seq, u16)) -> bool {
        place.0 < self.frontier.floor || self.wanted.bounds.after.is_some_and(|a| place <= a)
    }

    /// Newer than what is wanted, or than the cursor that the answer speaks of.
    fn too_new(&self, place: (Seq, u16)) -> bool {
        place.0 > self.frontier.cursor.last || self.wanted.bounds.before.is_some_and(|b| place >= b)
    }

    fn beyond(&self, place: (Seq, u16)) -> bool {
        match self.wanted.order {
            Order::Ascending => self.too_new(place),
            Order::Descending => self.too_old(place),
        }
    }

    fn before_start(&self, place: (Seq, u16)) -> bool {
        match self.wanted.order {
            Order::Ascending => self.too_old(place),
            Order::Descending => self.too_new(place),
        }
    }
}
