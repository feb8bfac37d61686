//! The rows of the tables: sorts them for a file or an answer, and filters them for a scan. Pure.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, AsArray as _, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    },
    compute::{
        SortColumn, SortOptions, filter_record_batch, lexsort_to_indices, take_record_batch,
    },
    datatypes::{
        DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType,
    },
};
use event::{PartitionId, RangeSet, Timestamp};
use segment::{Error, Result};

use crate::{
    prune::{ColdScan, Order},
    table::Table,
};

/// Returns `rows` as a file has them: sorted, and without the columns that are in its path.
pub(crate) fn in_file_order(table: Table, rows: &RecordBatch) -> Result<RecordBatch> {
    let order: &[&str] = match table {
        Table::Events => &[
            "conversation_id",
            "generation",
            "partition",
            "epoch",
            "seq",
            "idx",
        ],
        Table::HourlyStats => &["tenant", "hour", "type", "partition", "epoch", "seq_lo"],
        Table::ConversationSummary => {
            &["tenant", "conversation_id", "partition", "epoch", "seq_lo"]
        }
    };
    let sorted = sorted(&segment::conform(rows, &table.schema())?, order, false)?;
    let keep: Vec<_> = (0..sorted.num_columns())
        .filter(|column| {
            let name = table.schema().field(*column).name().clone();
            !table.partition_columns().contains(&name.as_str())
        })
        .collect();
    Ok(sorted.project(&keep)?)
}

/// Returns `rows` sorted by position.
pub(crate) fn by_position(rows: &RecordBatch, order: Order) -> Result<RecordBatch> {
    let columns = ["generation", "partition", "epoch", "seq", "idx"];
    sorted(rows, &columns, order == Order::Desc)
}

fn sorted(rows: &RecordBatch, columns: &[&str], descending: bool) -> Result<RecordBatch> {
    let options = Some(SortOptions {
        descending,
        nulls_first: true,
    });
    let columns = columns.iter().map(|name| {
        let values = rows.column_by_name(name);
        let values = values.ok_or_else(|| Error::Missing((*name).to_owned()))?;
        let values = ArrayRef::clone(values);
        Ok(SortColumn { values, options })
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let indices = lexsort_to_indices(&columns, None)?;
    Ok(take_record_batch(rows, &indices)?)
}

/// Returns the rows of a file with the columns of `schema`. The tenant is in the file's path, so it
/// is added as a column when the file lacks it.
pub(crate) fn with_tenant(
    rows: &RecordBatch,
    tenant: Option<&str>,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let Some(tenant) = tenant.filter(|_| rows.column_by_name("tenant").is_none()) else {
        return segment::conform(rows, schema);
    };
    let own = rows.schema();
    let mut fields: Vec<Field> = own.fields().iter().map(|f| Field::clone(f)).collect();
    fields.push(Field::new("tenant", DataType::Utf8, false));
    let tenants = StringArray::from_iter_values(std::iter::repeat_n(tenant, rows.num_rows()));
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(tenants));
    let whole = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    segment::conform(&whole, schema)
}

/// Returns the rows that satisfy the filters of `scan` and are outside of `except`, the ranges that
/// another tier answers for.
pub(crate) fn filtered(
    rows: &RecordBatch,
    scan: &ColdScan,
    except: Option<&RangeSet>,
) -> Result<RecordBatch> {
    let filter = RowFilter::new(rows, scan, except);
    let keep = (0..rows.num_rows()).map(|row| Some(filter.matches(row)));
    Ok(filter_record_batch(rows, &keep.collect::<BooleanArray>())?)
}

/// The filters of a scan and the columns that they read. Rollups lack some of the columns; a filter
/// on a missing column matches every row.
struct RowFilter<'a> {
    scan: &'a ColdScan,
    except: Option<&'a RangeSet>,
    tenant: Option<&'a StringArray>,
    conversation: Option<&'a StringArray>,
    event_type: Option<&'a StringArray>,
    timestamp: Option<&'a TimestampMicrosecondArray>,
    received_at: Option<&'a TimestampMicrosecondArray>,
    /// Generation, partition, epoch.
    partition_id: [Option<&'a Int32Array>; 3],
    seq: Option<&'a Int64Array>,
    idx: Option<&'a Int32Array>,
}

impl<'a> RowFilter<'a> {
    fn new(rows: &'a RecordBatch, scan: &'a ColdScan, except: Option<&'a RangeSet>) -> Self {
        let column = |name| rows.column_by_name(name);
        let text = |name| column(name)?.as_string_opt::<i32>();
        let time = |name| column(name)?.as_primitive_opt::<TimestampMicrosecondType>();
        let int = |name| column(name)?.as_primitive_opt::<Int32Type>();
        let long = |name| column(name)?.as_primitive_opt::<Int64Type>();
        Self {
            scan,
            except,
            tenant: text("tenant"),
            conversation: text("conversation_id"),
            event_type: text("type"),
            timestamp: time("timestamp"),
            received_at: time("received_at"),
            partition_id: [int("generation"), int("partition"), int("epoch")],
            // A rollup row covers a range, which is identified by its last sequence.
            seq: long("seq").or_else(|| long("seq_hi")),
            idx: int("idx"),
        }
    }

    fn matches(&self, row: usize) -> bool {
        self.texts_match(row) && self.times_match(row) && self.position_matches(row)
    }

    fn texts_match(&self, row: usize) -> bool {
        let scan = self.scan;
        let is = |column: Option<&StringArray>, wanted: &str| {
            column.is_none_or(|column| column.value(row) == wanted)
        };
        let tenant = scan.tenant.as_ref();
        let conversation = scan.conversation.as_ref();
        tenant.is_none_or(|wanted| is(self.tenant, wanted.as_str()))
            && conversation.is_none_or(|wanted| is(self.conversation, wanted.as_str()))
            && (scan.types.is_empty() || scan.types.iter().any(|t| is(self.event_type, t)))
    }

    fn times_match(&self, row: usize) -> bool {
        let scan = self.scan;
        let at = |column: Option<&TimestampMicrosecondArray>| {
            column.map(|column| Timestamp::from_micros(column.value(row)))
        };
        let (timestamp, received_at) = (at(self.timestamp), at(self.received_at));
        let matches = |bound: Option<Timestamp>, time: Option<Timestamp>, test: Comparison| {
            bound
                .zip(time)
                .is_none_or(|(bound, time)| test(&time, &bound))
        };
        matches(scan.timestamp_from, timestamp, Timestamp::ge)
            && matches(scan.timestamp_to, timestamp, Timestamp::lt)
            && matches(scan.received_after, received_at, Timestamp::gt)
    }

    fn position_matches(&self, row: usize) -> bool {
        let scan = self.scan;
        if scan.partition.is_some() && scan.partition != self.partition(row) {
            return false;
        }
        let seq = self.seq.map(|seq| seq.value(row));
        let Some(seq) = seq.and_then(|seq| u64::try_from(seq).ok()) else {
            return true;
        };
        let idx = self.idx.map_or(0, |idx| idx.value(row));
        let offset = (seq, u16::try_from(idx).unwrap_or(0));
        let ranges = scan.ranges.as_ref();
        ranges.is_none_or(|ranges| ranges.contains(seq))
            && !self.except.is_some_and(|except| except.contains(seq))
            && scan.after.is_none_or(|after| offset > after)
            && scan.before.is_none_or(|before| offset < before)
    }

    fn partition(&self, row: usize) -> Option<PartitionId> {
        let [generation, partition, epoch] = self
            .partition_id
            .map(|column| u16::try_from(column?.value(row)).ok());
        Some(PartitionId {
            generation: generation?,
            partition: partition?,
            epoch: epoch?,
        })
    }
}

type Comparison = fn(&Timestamp, &Timestamp) -> bool;
