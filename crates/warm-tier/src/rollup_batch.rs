//! Rollups in the columns of their tables. Pure.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    },
    datatypes::SchemaRef,
};
use event::{PartitionId, Seq, SeqRange, Timestamp};

use crate::{
    error::{Error, Result},
    open_rollups::{OpenRollups, Summary, Sums},
    scan_request::{Order, Scan, Table},
};

/// The rows of `rollups`, which are of `range`, that `scan` requests, in its order.
pub(crate) fn of(rollups: &OpenRollups, scan: &Scan, range: SeqRange) -> Result<RecordBatch> {
    match scan.table {
        Table::ConversationSummary => conversations(rollups, scan, range),
        Table::HourlyStats | Table::Events => hours(rollups, scan, range),
    }
}

fn hours(rollups: &OpenRollups, scan: &Scan, range: SeqRange) -> Result<RecordBatch> {
    let types = &scan.filter.types;
    let mut rows: Vec<(&str, Timestamp, String, Sums)> = Vec::new();
    for (tenant, own) in rollups.tenants(scan.filter.tenant.as_deref()) {
        let own = own.hours();
        let own = own.filter(|(_, name, _)| types.is_empty() || types.contains(name));
        rows.extend(own.map(|(hour, name, sums)| (tenant, hour, name, sums)));
    }
    if scan.order == Order::Desc {
        rows.reverse();
    }
    let mut columns: Vec<ArrayRef> = vec![
        texts(rows.iter().map(|row| row.0)),
        micros(rows.iter().map(|row| row.1)),
        texts(rows.iter().map(|row| row.2.as_str())),
        long(rows.iter().map(|row| row.3.events)),
        long(rows.iter().map(|row| row.3.bytes)),
    ];
    columns.extend(provenance(scan.partition, range, rows.len()));
    batch(segment::hourly_stats_schema(), columns)
}

fn conversations(rollups: &OpenRollups, scan: &Scan, range: SeqRange) -> Result<RecordBatch> {
    let only = scan.filter.conversation_id.as_deref();
    let mut rows: Vec<(&str, &str, &Summary)> = Vec::new();
    for (tenant, own) in rollups.tenants(scan.filter.tenant.as_deref()) {
        let own = own.conversations(only);
        rows.extend(own.map(|(name, summary)| (tenant, name, summary)));
    }
    match scan.order {
        Order::Asc => rows.sort_unstable_by_key(|row| (row.0, row.1)),
        Order::Desc => rows.sort_unstable_by_key(|row| std::cmp::Reverse((row.0, row.1))),
        Order::None => {}
    }
    let of = |value: fn(&Summary) -> i64| long(rows.iter().map(move |row| value(row.2)));
    let time = |value: fn(&Summary) -> Timestamp| micros(rows.iter().map(move |row| value(row.2)));
    let idx = rows.iter().map(|row| i32::from(row.2.start.0.1));
    let mut columns: Vec<ArrayRef> = vec![
        texts(rows.iter().map(|row| row.0)),
        texts(rows.iter().map(|row| row.1)),
        of(|own| own.sums.events),
        of(|own| own.sums.bytes),
        time(|own| own.first),
        time(|own| own.last),
        time(|own| own.start.1),
        of(|own| signed(own.start.0.0)),
        Arc::new(Int32Array::from_iter_values(idx)),
        of(|own| signed(own.last_seq)),
        of(|own| own.errors),
    ];
    columns.extend(provenance(scan.partition, range, rows.len()));
    batch(segment::conversation_summary_schema(), columns)
}

/// The columns `generation, partition, epoch, seq_lo, seq_hi`, the same in `count` rows.
fn provenance(partition: PartitionId, range: SeqRange, count: usize) -> [ArrayRef; 5] {
    let small =
        |value: u16| -> ArrayRef { Arc::new(Int32Array::from(vec![i32::from(value); count])) };
    let same = |seq: Seq| long(std::iter::repeat_n(signed(seq), count));
    [
        small(partition.generation),
        small(partition.partition),
        small(partition.epoch),
        same(range.lo),
        same(range.hi),
    ]
}

fn batch(schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(schema, columns).map_err(|error| Error::Rows(error.to_string()))
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn long(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn micros(times: impl Iterator<Item = Timestamp>) -> ArrayRef {
    let times = times.map(Timestamp::as_micros);
    Arc::new(TimestampMicrosecondArray::from_iter_values(times))
}

fn signed(seq: Seq) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
