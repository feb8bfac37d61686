//! Rollup rows of many disjoint ranges → what a full scan would say. Pure.

use std::collections::BTreeMap;

use arrow::{
    array::{AsArray as _, RecordBatch},
    datatypes::{Int32Type, Int64Type, TimestampMicrosecondType},
};
use event::Timestamp;

/// Events of one hour and type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hour {
    pub(crate) events: i64,
    pub(crate) bytes: i64,
}

/// By (hour of event time, type).
pub(crate) type Hours = BTreeMap<(Timestamp, String), Hour>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conversation {
    pub(crate) events: i64,
    pub(crate) bytes: i64,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    /// The time of the first event by position.
    pub(crate) start: Timestamp,
    pub(crate) errors: i64,
    pub(crate) last_seq: i64,
    started_at: (i32, i32, i64, i32),
}

pub(crate) type Conversations = BTreeMap<String, Conversation>;

/// Columns of one batch, which has the schema of its table.
struct Row<'a> {
    batch: &'a RecordBatch,
    index: usize,
}

impl Row<'_> {
    fn long(&self, name: &str) -> i64 {
        let column = self.column(name).as_primitive::<Int64Type>();
        column.value(self.index)
    }

    fn int(&self, name: &str) -> i32 {
        self.column(name)
            .as_primitive::<Int32Type>()
            .value(self.index)
    }

    fn time(&self, name: &str) -> Timestamp {
        let column = self.column(name).as_primitive::<TimestampMicrosecondType>();
        Timestamp::from_micros(column.value(self.index))
    }

    fn text(&self, name: &str) -> &str {
        self.column(name).as_string::<i32>().value(self.index)
    }

    fn column(&self, name: &str) -> &dyn arrow::array::Array {
        self.batch
            .column_by_name(name)
            .expect("the scan conformed it to its schema")
    }
}

fn rows(batches: &[RecordBatch]) -> impl Iterator<Item = Row<'_>> {
    batches
        .iter()
        .flat_map(|batch| (0..batch.num_rows()).map(move |index| Row { batch, index }))
}

pub(crate) fn hours(batches: &[RecordBatch]) -> Hours {
    let mut hours = Hours::new();
    for row in rows(batches) {
        let key = (row.time("hour"), row.text("type").to_owned());
        let hour = hours.entry(key).or_default();
        hour.events += row.long("events");
        hour.bytes += row.long("bytes");
    }
    hours
}

pub(crate) fn conversations(batches: &[RecordBatch]) -> Conversations {
    let mut conversations = Conversations::new();
    for row in rows(batches) {
        let part = Conversation {
            events: row.long("events"),
            bytes: row.long("bytes"),
            first: row.time("first_timestamp"),
            last: row.time("last_timestamp"),
            start: row.time("start_timestamp"),
            errors: row.long("errors"),
            last_seq: row.long("last_seq"),
            started_at: (
                row.int("generation"),
                row.int("epoch"),
                row.long("start_seq"),
                row.int("start_idx"),
            ),
        };
        match conversations.get_mut(row.text("conversation_id")) {
            Some(known) => known.add(&part),
            None => {
                conversations.insert(row.text("conversation_id").to_owned(), part);
            }
        }
    }
    conversations
}

impl Conversation {
    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.bytes += other.bytes;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.errors += other.errors;
        self.last_seq = self.last_seq.max(other.last_seq);
        if other.started_at < self.started_at {
            (self.start, self.started_at) = (other.start, other.started_at);
        }
    }
}

#[cfg(test)]
mod tests;
