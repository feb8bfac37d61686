//! Rollup rows of events that are in no rollup yet: the columns of the stored rollups, computed from
//! the events. Pure.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{
        ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    },
    datatypes::SchemaRef,
    error::ArrowError,
};
use event::{ConversationId, Position, StoredEvent, TenantId, Timestamp};

#[derive(Default)]
struct Sums {
    events: i64,
    bytes: i64,
}

/// Returns one row per (tenant, hour, type), in the columns of `segment::hourly_stats_schema`.
pub(crate) fn hourly_stats(rows: &[StoredEvent]) -> Result<RecordBatch, ArrowError> {
    let mut groups: BTreeMap<(&TenantId, Timestamp, &str), Sums> = BTreeMap::new();
    for row in rows {
        let event = &row.event;
        let key = (
            &event.tenant,
            event.timestamp.hour(),
            event.event_type.as_str(),
        );
        groups.entry(key).or_default().add(row);
    }
    let count = groups.len();
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            groups.keys().map(|key| key.0.as_str()),
        )),
        micros(groups.keys().map(|key| key.1)),
        Arc::new(StringArray::from_iter_values(
            groups.keys().map(|key| key.2),
        )),
        Arc::new(Int64Array::from_iter_values(
            groups.values().map(|sums| sums.events),
        )),
        Arc::new(Int64Array::from_iter_values(
            groups.values().map(|sums| sums.bytes),
        )),
    ];
    columns.extend(range_columns(rows, count));
    batch(segment::hourly_stats_schema(), columns)
}

struct Summary {
    sums: Sums,
    first: Timestamp,
    last: Timestamp,
    start: (Position, Timestamp),
    last_seq: i64,
    errors: i64,
}

/// Returns one row per (tenant, conversation), in the columns of `segment::conversation_summary_schema`.
pub(crate) fn conversation_summary(rows: &[StoredEvent]) -> Result<RecordBatch, ArrowError> {
    let mut groups: BTreeMap<(&TenantId, &ConversationId), Summary> = BTreeMap::new();
    for row in rows {
        let event = &row.event;
        let group = groups.entry((&event.tenant, &event.conversation_id));
        group.or_insert_with(|| Summary::new(row)).add(row);
    }
    let count = groups.len();
    let all = || groups.values();
    let long = |of: fn(&Summary) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(all().map(of)))
    };
    let idx = all().map(|summary| i32::from(summary.start.0.idx));
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            groups.keys().map(|key| key.0.as_str()),
        )),
        Arc::new(StringArray::from_iter_values(
            groups.keys().map(|key| key.1.as_str()),
        )),
        long(|summary| summary.sums.events),
        long(|summary| summary.sums.bytes),
        micros(all().map(|summary| summary.first)),
        micros(all().map(|summary| summary.last)),
        micros(all().map(|summary| summary.start.1)),
        long(|summary| signed(summary.start.0.seq)),
        Arc::new(Int32Array::from_iter_values(idx)),
        long(|summary| summary.last_seq),
        long(|summary| summary.errors),
    ];
    columns.extend(range_columns(rows, count));
    batch(segment::conversation_summary_schema(), columns)
}

impl Sums {
    fn add(&mut self, row: &StoredEvent) {
        self.events += 1;
        self.bytes += i64::try_from(row.event.content.len()).unwrap_or(i64::MAX);
    }
}

impl Summary {
    fn new(row: &StoredEvent) -> Self {
        let time = row.event.timestamp;
        Self {
            sums: Sums::default(),
            first: time,
            last: time,
            start: (row.position, time),
            last_seq: 0,
            errors: 0,
        }
    }

    fn add(&mut self, row: &StoredEvent) {
        let time = row.event.timestamp;
        self.sums.add(row);
        self.first = self.first.min(time);
        self.last = self.last.max(time);
        if row.position < self.start.0 {
            self.start = (row.position, time);
        }
        self.last_seq = self.last_seq.max(signed(row.position.seq));
        self.errors += i64::from(row.event.event_type.as_str().starts_with("error"));
    }
}

/// Returns the columns `generation, partition, epoch, seq_lo, seq_hi`, the same `count` times; `rows`
/// are of one partition.
fn range_columns(rows: &[StoredEvent], count: usize) -> [ArrayRef; 5] {
    let first = rows.iter().map(|row| row.position).min();
    let last = rows.iter().map(|row| row.position.seq).max().unwrap_or(0);
    let small = |of: fn(&Position) -> u16| -> ArrayRef {
        let value = first.as_ref().map_or(0, of);
        Arc::new(Int32Array::from(vec![i32::from(value); count]))
    };
    let long = |seq: u64| -> ArrayRef { Arc::new(Int64Array::from(vec![signed(seq); count])) };
    [
        small(|position| position.partition.generation),
        small(|position| position.partition.partition),
        small(|position| position.partition.epoch),
        long(first.map_or(0, |position| position.seq)),
        long(last),
    ]
}

fn micros(times: impl Iterator<Item = Timestamp>) -> ArrayRef {
    let times = times.map(Timestamp::as_micros);
    Arc::new(TimestampMicrosecondArray::from_iter_values(times))
}

fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

fn batch(schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_new(schema, columns)
}
