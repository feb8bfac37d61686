//! Rollup rows of events that are in no rollup yet: the columns of the stored rollups, summed while the
//! events are read. Pure.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{
        ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    },
    error::ArrowError,
};
use event::{Position, StoredEvent, TenantId, Timestamp};

/// Bytes of a group beside its name: its entry in the map, and its row in the columns.
const GROUP_BYTES: usize = 512;

#[derive(Debug, Default)]
struct Sums {
    events: i64,
    bytes: i64,
}

/// The sums of a tenant's events by hour and type.
#[derive(Debug)]
pub(crate) struct HourlyStats {
    tenant: TenantId,
    groups: BTreeMap<(Timestamp, String), Sums>,
    range: PositionRange,
}

impl HourlyStats {
    pub(crate) fn new(tenant: TenantId) -> Self {
        Self {
            tenant,
            groups: BTreeMap::new(),
            range: PositionRange::default(),
        }
    }

    /// Adds an event of the tenant. Returns the bytes that this takes.
    pub(crate) fn add(&mut self, row: &StoredEvent) -> usize {
        self.range.add(row.position);
        let name = row.event.event_type.as_str();
        let key = (row.event.timestamp.hour(), name.to_owned());
        let known = self.groups.len();
        self.groups.entry(key).or_default().add(row);
        if self.groups.len() == known {
            return 0;
        }
        GROUP_BYTES + 2 * name.len()
    }

    /// Returns one row per group, in the columns of `segment::hourly_stats_schema`.
    pub(crate) fn into_batch(self) -> Result<RecordBatch, ArrowError> {
        let groups = &self.groups;
        let texts = groups.keys().map(|(_, name)| name);
        let mut columns: Vec<ArrayRef> = vec![
            same_text(&self.tenant, groups.len()),
            micros(groups.keys().map(|(hour, _)| *hour)),
            Arc::new(StringArray::from_iter_values(texts)),
            long(groups.values().map(|sums| sums.events)),
            long(groups.values().map(|sums| sums.bytes)),
        ];
        columns.extend(self.range.columns(groups.len()));
        RecordBatch::try_new(segment::hourly_stats_schema(), columns)
    }
}

#[derive(Debug)]
struct Summary {
    sums: Sums,
    first: Timestamp,
    last: Timestamp,
    start: (Position, Timestamp),
    last_seq: i64,
    errors: i64,
}

/// The sums of a tenant's events by conversation.
#[derive(Debug)]
pub(crate) struct ConversationSummaries {
    tenant: TenantId,
    groups: BTreeMap<String, Summary>,
    range: PositionRange,
}

impl ConversationSummaries {
    pub(crate) fn new(tenant: TenantId) -> Self {
        Self {
            tenant,
            groups: BTreeMap::new(),
            range: PositionRange::default(),
        }
    }

    /// Adds an event of the tenant. Returns the bytes that this takes.
    pub(crate) fn add(&mut self, row: &StoredEvent) -> usize {
        self.range.add(row.position);
        let name = row.event.conversation_id.as_str();
        if let Some(group) = self.groups.get_mut(name) {
            group.add(row);
            return 0;
        }
        let mut group = Summary::new(row);
        group.add(row);
        self.groups.insert(name.to_owned(), group);
        GROUP_BYTES + 2 * name.len()
    }

    /// Returns one row per conversation, in the columns of `segment::conversation_summary_schema`.
    pub(crate) fn into_batch(self) -> Result<RecordBatch, ArrowError> {
        let count = self.groups.len();
        let all = || self.groups.values();
        let idx = all().map(|summary| i32::from(summary.start.0.idx));
        let mut columns: Vec<ArrayRef> = vec![
            same_text(&self.tenant, count),
            Arc::new(StringArray::from_iter_values(self.groups.keys())),
            long(all().map(|summary| summary.sums.events)),
            long(all().map(|summary| summary.sums.bytes)),
            micros(all().map(|summary| summary.first)),
            micros(all().map(|summary| summary.last)),
            micros(all().map(|summary| summary.start.1)),
            long(all().map(|summary| signed(summary.start.0.seq))),
            Arc::new(Int32Array::from_iter_values(idx)),
            long(all().map(|summary| summary.last_seq)),
            long(all().map(|summary| summary.errors)),
        ];
        columns.extend(self.range.columns(count));
        RecordBatch::try_new(segment::conversation_summary_schema(), columns)
    }
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

/// The first position and the last sequence of the rows, which are of one partition.
#[derive(Debug, Default)]
struct PositionRange {
    first: Option<Position>,
    last: u64,
}

impl PositionRange {
    fn add(&mut self, position: Position) {
        self.first = Some(self.first.map_or(position, |first| first.min(position)));
        self.last = self.last.max(position.seq);
    }

    /// Returns the columns `generation, partition, epoch, seq_lo, seq_hi`, the same `count` times.
    fn columns(&self, count: usize) -> [ArrayRef; 5] {
        let small = |of: fn(&Position) -> u16| -> ArrayRef {
            let value = self.first.as_ref().map_or(0, of);
            Arc::new(Int32Array::from(vec![i32::from(value); count]))
        };
        let same = |seq: u64| long(std::iter::repeat_n(signed(seq), count));
        [
            small(|position| position.partition.generation),
            small(|position| position.partition.partition),
            small(|position| position.partition.epoch),
            same(self.first.map_or(0, |position| position.seq)),
            same(self.last),
        ]
    }
}

fn same_text(tenant: &TenantId, count: usize) -> ArrayRef {
    let tenants = std::iter::repeat_n(tenant.as_str(), count);
    Arc::new(StringArray::from_iter_values(tenants))
}

fn long(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn micros(times: impl Iterator<Item = Timestamp>) -> ArrayRef {
    let times = times.map(Timestamp::as_micros);
    Arc::new(TimestampMicrosecondArray::from_iter_values(times))
}

fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
