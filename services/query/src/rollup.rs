//! Rollup rows of many disjoint ranges → the totals of a full scan. Pure.

use std::{cmp::Reverse, collections::BTreeMap};

use arrow::{
    array::{AsArray as _, RecordBatch},
    datatypes::{Int32Type, Int64Type, TimestampMicrosecondType},
};
use event::Timestamp;
use segment::{MAX_HOURLY_TYPES, OTHER_TYPES};

/// Totals of the events of one hour and type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HourSums {
    pub(crate) events: i64,
    pub(crate) bytes: i64,
}

impl HourSums {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.bytes += other.bytes;
    }
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

/// Adds up rows of `hourly_stats`. An hour has `MAX_HOURLY_TYPES` types at most, and the rest as one.
pub(crate) fn hourly_stats(batches: &[RecordBatch]) -> HourlyStats {
    let mut hours: BTreeMap<Timestamp, BTreeMap<String, HourSums>> = BTreeMap::new();
    for row in rows(batches) {
        let types = hours.entry(row.time("hour")).or_default();
        types
            .entry(row.text("type").to_owned())
            .or_default()
            .add(HourSums {
                events: row.long("events"),
                bytes: row.long("bytes"),
            });
        // Not only at the end: each range may have other types.
        if types.len() > 2 * MAX_HOURLY_TYPES {
            sum_up_rare_types(types);
        }
    }
    hours.values_mut().for_each(sum_up_rare_types);
    let sums = hours.into_iter().flat_map(|(hour, types)| {
        let types = types.into_iter();
        types.map(move |(kind, sums)| ((hour, kind), sums))
    });
    sums.collect()
}

/// Adds up, as one type, those beyond the limit with the fewest events, then those last by name.
fn sum_up_rare_types(types: &mut BTreeMap<String, HourSums>) {
    let other = types.remove(OTHER_TYPES);
    let mut ranked: Vec<_> = std::mem::take(types).into_iter().collect();
    // Stable, so that equal numbers stay ordered by name.
    ranked.sort_by_key(|(_, sums)| Reverse(sums.events));
    let rare = ranked.split_off(ranked.len().min(MAX_HOURLY_TYPES));
    types.extend(ranked);
    for sums in rare.into_iter().map(|(_, sums)| sums).chain(other) {
        types.entry(OTHER_TYPES.to_owned()).or_default().add(sums);
    }
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
