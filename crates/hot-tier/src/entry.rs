//! One entry of a conversation's stream: a pack and the fields that the scripts read.
//!
//! Fields: `p` the pack, `n` its number of events, `f` and `r` the `received_at` of its first and last
//! event in microseconds, `s` the sequence of its first event. The id is `seq-idx` of its last event.

use bytes::Bytes;
use event::{Seq, Timestamp};
use event_proto::{Pack, PackedEvent};
use redis::Value;

use crate::{
    error::{Error, Result},
    key::parse_id,
};

/// The id and the fields that are stored with a pack.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) id: (Seq, u16),
    pub(crate) first: Seq,
    pub(crate) first_at: Timestamp,
    pub(crate) last_at: Timestamp,
    pub(crate) events: usize,
}

impl Header {
    /// The header of `pack`; `None` when it is empty.
    pub(crate) fn of(pack: &Pack) -> Option<Self> {
        let (first, last) = (pack.events.first()?, pack.events.last()?);
        let times = || pack.events.iter().map(|event| event.received_at);
        Some(Self {
            id: (last.seq, last.idx),
            first: first.seq,
            // Not simply the first and the last: the log's clock may step back when its leader changes.
            first_at: times().min()?,
            last_at: times().max()?,
            events: pack.events.len(),
        })
    }
}

/// An entry as it was read, its pack not decoded yet.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    id: (Seq, u16),
    pack: Bytes,
}

impl Entry {
    /// The offset of the last event.
    pub(crate) fn id(&self) -> (Seq, u16) {
        self.id
    }

    /// Decodes the events of the pack; checksums are not verified yet.
    pub(crate) fn events(&self, key: &str) -> Result<Vec<PackedEvent>> {
        let pack = Pack::decode(self.pack.clone()).map_err(|error| Error::damaged(key, error))?;
        Ok(pack.events)
    }
}

/// Parses the reply to XRANGE or XREVRANGE.
pub(crate) fn parse_entries(key: &str, reply: Value) -> Result<Vec<Entry>> {
    let Value::Array(entries) = reply else {
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
