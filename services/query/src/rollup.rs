//! Rollup rows of many disjoint ranges → the totals of a full scan. Pure.

use std::collections::BTreeMap;

use arrow::{
    array::{AsArray as _, RecordBatch},
    datatypes::{Int32Type, Int64Type, TimestampMicrosecondType},
};
use event::Timestamp;

/// Totals of the events of one hour and type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HourSums {
    pub(crate) events: i64,
    pub(crate) bytes: i64,
}

/// Totals by (hour of event time, type).
pub(crate) type HourlyStats = BTreeMap<(Timestamp, String), HourSums>;

/// Totals of the events of one conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConversationSummary {
    pub(crate) events: i64,
    pub(crate) bytes: i64,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    /// The time of the first event by position.
    pub(crate) start: Timestamp,
    pub(crate) errors: i64,
    pub(crate) last_seq: i64,
    /// Generation, epoch, seq and idx of the first event.
    start_position: (i32, i32, i64, i32),
}

/// Summaries by conversation id.
pub(crate) type ConversationSummaries = BTreeMap<String, ConversationSummary>;

/// One row of a batch, which has the schema of its rollup table.
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

/// Adds up rows of `hourly_stats`.
pub(crate) fn hourly_stats(batches: &[RecordBatch]) -> HourlyStats {
    let mut hours = HourlyStats::new();
    for row in rows(batches) {
        let key = (row.time("hour"), row.text("type").to_owned());
        let hour = hours.entry(key).or_default();
        hour.events += row.long("events");
        hour.bytes += row.long("bytes");
    }
    hours
}

/// Adds up rows of `conversation_summary`.
pub(crate) fn conversation_summaries(batches: &[RecordBatch]) -> ConversationSummaries {
    let mut conversations = ConversationSummaries::new();
    for row in rows(batches) {
        let part = ConversationSummary {
            events: row.long("events"),
            bytes: row.long("bytes"),
            first: row.time("first_timestamp"),
            last: row.time("last_timestamp"),
            start: row.time("start_timestamp"),
            errors: row.long("errors"),
            last_seq: row.long("last_seq"),
            start_position: (
                row.int("generation"),
                row.int("epoch"),
                row.long("start_seq"),
                row.int("start_idx"),
            ),
        };
        match conversations.get_mut(row.text("conversation_id")) {
            Some(total) => total.add(&part),
            None => {
                conversations.insert(row.text("conversation_id").to_owned(), part);
            }
        }
    }
    conversations
}

impl ConversationSummary {
    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.bytes += other.bytes;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.errors += other.errors;
        self.last_seq = self.last_seq.max(other.last_seq);
        if other.start_position < self.start_position {
            (self.start, self.start_position) = (other.start, other.start_position);
        }
    }
}

#[cfg(test)]
mod tests;
