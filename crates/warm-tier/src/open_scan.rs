//! The rows of a scan from what is not sealed. Pure.

use std::sync::Arc;

use arrow::{
    array::{
        AsArray as _, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
        UInt32Array,
    },
    compute::take_record_batch,
    datatypes::{Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType},
};
use event::{Seq, SeqRange, Timestamp};

use crate::{
    error::{Error, Result},
    open_files::{OpenRun, RunFiles},
    open_rollups::{Counted, OpenRollups},
    rollup_batch,
    scan_request::{Filter, Order, Scan, Table},
};

/// What a scan may need of one part that is not sealed.
#[derive(Debug)]
pub(crate) struct OpenRows {
    /// The range of the part.
    pub(crate) range: SeqRange,
    content: OpenContent,
    runs: Vec<Arc<OpenRun>>,
    /// The batches of the content that the runs have.
    in_runs: usize,
}

/// The content of a part.
#[derive(Debug)]
pub(crate) enum OpenContent {
    /// All of its events, in log order, in the columns of `segment::events_schema`. A batch has some MiB.
    Events(Vec<RecordBatch>),
    /// The rows of its rollup that the scan requests.
    Rollup(RecordBatch),
}

impl OpenRows {
    /// The `content` of the part `range`, with the runs of its first batches and their number.
    pub(crate) fn new(
        range: SeqRange,
        content: OpenContent,
        (runs, in_runs): (Vec<Arc<OpenRun>>, usize),
    ) -> Self {
        Self {
            range,
            content,
            runs,
            in_runs,
        }
    }

    /// Returns its runs as files with `columns`, and keeps the other events. When the disk takes no file, there are
    /// none, and it keeps all.
    pub(crate) fn take_files(&mut self, columns: &[String]) -> Vec<RunFiles> {
        let files = self.runs.iter().map(|run| run.files(columns));
        let files = files.collect::<Result<Vec<_>>>();
        let files = files.unwrap_or_else(|error| {
            tracing::warn!(%error, "columns of an open part not written");
            Vec::new()
        });
        if let (OpenContent::Events(batches), false) = (&mut self.content, files.is_empty()) {
            batches.drain(..self.in_runs);
        }
        files
    }

    /// Calls `on_batch` with batch after batch of the rows of `scan`, in its order, until it returns `false`.
    pub(crate) fn read(
        &self,
        scan: &Scan,
        schema: &SchemaRef,
        on_batch: &mut impl FnMut(RecordBatch) -> bool,
    ) -> Result<()> {
        match &self.content {
            OpenContent::Rollup(rollup) => {
                on_batch(conform(rollup, schema)?);
            }
            OpenContent::Events(batches) if scan.table == Table::Events => {
                return read_events(batches, scan, schema, on_batch);
            }
            OpenContent::Events(batches) => {
                let parts = scan.ranges.iter();
                for part in parts.filter_map(|range| range.intersect(&self.range)) {
                    let rollup = rollup(batches, scan, part)?;
                    if !on_batch(conform(&rollup, schema)?) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

fn read_events(
    batches: &[RecordBatch],
    scan: &Scan,
    schema: &SchemaRef,
    on_batch: &mut impl FnMut(RecordBatch) -> bool,
) -> Result<()> {
    let mut batches: Vec<_> = batches.iter().collect();
    if scan.order == Order::Desc {
        batches.reverse();
    }
    for batch in batches {
        let columns = Columns::of(batch)?;
        let mut rows: Vec<u32> = columns.requested(scan).collect();
        if rows.is_empty() {
            continue;
        }
        let mut selected = conform(batch, schema)?;
        if scan.order == Order::Desc {
            rows.reverse();
        }
        if scan.order == Order::Desc || rows.len() < batch.num_rows() {
            let rows = UInt32Array::from(rows);
            let taken = take_record_batch(&selected, &rows);
            selected = taken.map_err(|error| Error::Rows(error.to_string()))?;
        }
        if !on_batch(selected) {
            break;
        }
    }
    Ok(())
}

/// The rollup of the events in `range`, as far as `scan` requests it.
fn rollup(batches: &[RecordBatch], scan: &Scan, range: SeqRange) -> Result<RecordBatch> {
    let mut rollups = OpenRollups::default();
    for batch in batches {
        let columns = Columns::of(batch)?;
        for row in columns.within(range) {
            rollups.add(&columns.counted(row));
        }
    }
    rollup_batch::of(&rollups, scan, range)
}

fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    segment::conform(batch, schema).map_err(|error| Error::Rows(error.to_string()))
}

/// The columns of a batch that conditions and rollups read.
struct Columns<'a> {
    tenant: &'a StringArray,
    conversation: &'a StringArray,
    event_type: &'a StringArray,
    timestamp: &'a TimestampMicrosecondArray,
    received_at: &'a TimestampMicrosecondArray,
    content_len: &'a Int64Array,
    seq: &'a Int64Array,
    idx: &'a Int32Array,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self> {
        let column = |name: &str| {
            let column = batch.column_by_name(name);
            column.ok_or_else(|| Error::Rows(format!("no column {name}")))
        };
        Ok(Self {
            tenant: column("tenant")?.as_string(),
            conversation: column("conversation_id")?.as_string(),
            event_type: column("type")?.as_string(),
            timestamp: column("timestamp")?.as_primitive::<TimestampMicrosecondType>(),
            received_at: column("received_at")?.as_primitive::<TimestampMicrosecondType>(),
            content_len: column("content_len")?.as_primitive::<Int64Type>(),
            seq: column("seq")?.as_primitive::<Int64Type>(),
            idx: column("idx")?.as_primitive::<Int32Type>(),
        })
    }

    /// The rows that `scan` requests. They are in log order.
    fn requested<'b>(&'b self, scan: &'b Scan) -> impl Iterator<Item = u32> + 'b {
        let ranges = scan.ranges.iter();
        let rows = ranges.flat_map(|range| self.within(*range));
        let rows = rows.filter(|row| self.matches(&scan.filter, *row));
        rows.filter_map(|row| u32::try_from(row).ok())
    }

    /// The rows of `range`.
    fn within(&self, range: SeqRange) -> std::ops::Range<usize> {
        let seqs = self.seq.values();
        let first = seqs.partition_point(|seq| seq.cast_unsigned() < range.lo);
        let end = seqs.partition_point(|seq| seq.cast_unsigned() <= range.hi);
        first..end
    }

    fn matches(&self, filter: &Filter, row: usize) -> bool {
        let is = |wanted: &Option<String>, column: &StringArray| {
            let wanted = wanted.as_ref();
            wanted.is_none_or(|wanted| wanted == column.value(row))
        };
        let is_type = |wanted: &String| wanted == self.event_type.value(row);
        let timestamp = Timestamp::from_micros(self.timestamp.value(row));
        let received_at = Timestamp::from_micros(self.received_at.value(row));
        let offset = self.offset(row);
        is(&filter.conversation_id, self.conversation)
            && is(&filter.tenant, self.tenant)
            && (filter.types.is_empty() || filter.types.iter().any(is_type))
            && filter.timestamp_from.is_none_or(|from| timestamp >= from)
            && filter.timestamp_to.is_none_or(|to| timestamp < to)
            && filter
                .received_after
                .is_none_or(|after| received_at > after)
            && filter.after.is_none_or(|after| offset > after)
            && filter.before.is_none_or(|before| offset < before)
    }

    fn counted(&self, row: usize) -> Counted<'a> {
        Counted {
            tenant: self.tenant.value(row),
            conversation: self.conversation.value(row),
            event_type: self.event_type.value(row),
            timestamp: Timestamp::from_micros(self.timestamp.value(row)),
            bytes: self.content_len.value(row),
            offset: self.offset(row),
        }
    }

    fn offset(&self, row: usize) -> (Seq, u16) {
        let idx = u16::try_from(self.idx.value(row)).unwrap_or(u16::MAX);
        (self.seq.value(row).cast_unsigned(), idx)
    }
}
