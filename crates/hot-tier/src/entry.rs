//! One entry of a conversation's stream: a pack and what the scripts must know of it.
//!
//! Fields: `p` the pack, `n` its events, `f` and `r` when the log took its first and last event,
//! `s` the sequence of its first event. The id is the position of its last event.

use bytes::Bytes;
use event::{Seq, Timestamp};
use event_proto::{Pack, PackedEvent};
use redis::Value;

use crate::{
    error::{Error, Result},
    key::parse_id,
};

/// What is stored with a pack.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) id: (Seq, u16),
    pub(crate) first: Seq,
    pub(crate) first_at: Timestamp,
    pub(crate) last_at: Timestamp,
    pub(crate) events: usize,
}

impl Header {
    /// `None` when the pack is empty.
    pub(crate) fn of(pack: &Pack) -> Option<Self> {
        let (first, last) = (pack.events.first()?, pack.events.last()?);
        let times = || pack.events.iter().map(|event| event.received_at);
        Some(Self {
            id: (last.seq, last.idx),
            first: first.seq,
            // The log's clock may step back when its leader changes.
            first_at: times().min()?,
            last_at: times().max()?,
            events: pack.events.len(),
        })
    }
}

/// An entry as it was read.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: (Seq, u16),
    pack: Bytes,
}

impl Entry {
    pub(crate) fn bytes(&self) -> usize {
        self.pack.len()
    }

    /// The events, checksums not checked yet.
    pub(crate) fn events(self, key: &str) -> Result<Vec<PackedEvent>> {
        let pack = Pack::decode(self.pack).map_err(|error| Error::damaged(key, error))?;
        Ok(pack.events)
    }
}

/// The entries in an answer to XRANGE or XREVRANGE.
pub(crate) fn parse_entries(key: &str, answer: Value) -> Result<Vec<Entry>> {
    let Value::Array(entries) = answer else {
        return Err(Error::shape(key, "entries"));
    };
    entries
        .into_iter()
        .map(|entry| parse(entry).ok_or_else(|| Error::shape(key, "entry")))
        .collect()
}

fn parse(entry: Value) -> Option<Entry> {
    let Value::Array(pair) = entry else {
        return None;
    };
    let [id, fields] = <[Value; 2]>::try_from(pair).ok()?;
    let (Value::BulkString(id), Value::Array(fields)) = (id, fields) else {
        return None;
    };
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if let (Value::BulkString(name), Value::BulkString(pack)) = (name, value)
            && name == b"p"
        {
            let id = parse_id(std::str::from_utf8(&id).ok()?)?;
            let pack = Bytes::from(pack);
            return Some(Entry { id, pack });
        }
    }
    None
}
