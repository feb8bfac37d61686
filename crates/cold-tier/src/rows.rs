//! Rows of the tables: their order in a file, and which of them a scan wants. Pure.

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

/// `rows` as they lie in a file: sorted, and without the columns that lie in the path.
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
        .filter(|at| {
            let name = table.schema().field(*at).name().clone();
            !table.partition_columns().contains(&name.as_str())
        })
        .collect();
    Ok(sorted.project(&keep)?)
}

/// `rows` by position.
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

/// The rows of a file as `schema`: the tenant comes from the path.
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

/// The rows that `scan` wants, but for its limit. `except` is what another tier answers for.
pub(crate) fn wanted(
    rows: &RecordBatch,
    scan: &ColdScan,
    except: Option<&RangeSet>,
) -> Result<RecordBatch> {
    let test = RowTest::new(rows, scan, except);
    let keep = (0..rows.num_rows()).map(|row| Some(test.holds(row)));
    Ok(filter_record_batch(rows, &keep.collect::<BooleanArray>())?)
}

/// The columns that a scan may look at. Rollups do not have all of them: what a row has not got
/// does not keep it out.
struct RowTest<'a> {
    scan: &'a ColdScan,
    except: Option<&'a RangeSet>,
    tenant: Option<&'a StringArray>,
    conversation: Option<&'a StringArray>,
    event_type: Option<&'a StringArray>,
    timestamp: Option<&'a TimestampMicrosecondArray>,
    received_at: Option<&'a TimestampMicrosecondArray>,
    place: [Option<&'a Int32Array>; 3],
    seq: Option<&'a Int64Array>,
    idx: Option<&'a Int32Array>,
}

impl<'a> RowTest<'a> {
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
            place: [int("generation"), int("partition"), int("epoch")],
            // Of a rollup the whole range counts: its last sequence says which.
            seq: long("seq").or_else(|| long("seq_hi")),
            idx: int("idx"),
        }
    }

    fn holds(&self, row: usize) -> bool {
        self.texts_hold(row) && self.times_hold(row) && self.place_holds(row)
    }

    fn texts_hold(&self, row: usize) -> bool {
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

    fn times_hold(&self, row: usize) -> bool {
        let scan = self.scan;
        let at = |column: Option<&TimestampMicrosecondArray>| {
            column.map(|column| Timestamp::from_micros(column.value(row)))
        };
        let (timestamp, received_at) = (at(self.timestamp), at(self.received_at));
        let holds = |bound: Option<Timestamp>, own: Option<Timestamp>, test: Test| {
            bound.zip(own).is_none_or(|(bound, own)| test(&own, &bound))
        };
        holds(scan.timestamp_from, timestamp, Timestamp::ge)
            && holds(scan.timestamp_to, timestamp, Timestamp::lt)
            && holds(scan.received_after, received_at, Timestamp::gt)
    }

    fn place_holds(&self, row: usize) -> bool {
        let scan = self.scan;
        if scan.partition.is_some() && scan.partition != self.partition(row) {
            return false;
        }
        let seq = self.seq.map(|seq| seq.value(row));
        let Some(seq) = seq.and_then(|seq| u64::try_from(seq).ok()) else {
            return true;
        };
        let idx = self.idx.map_or(0, |idx| idx.value(row));
        let place = (seq, u16::try_from(idx).unwrap_or(0));
        let ranges = scan.ranges.as_ref();
        ranges.is_none_or(|ranges| ranges.contains(seq))
            && !self.except.is_some_and(|except| except.contains(seq))
            && scan.after.is_none_or(|after| place > after)
            && scan.before.is_none_or(|before| place < before)
    }

    fn partition(&self, row: usize) -> Option<PartitionId> {
        let [generation, partition, epoch] = self
            .place
            .map(|column| u16::try_from(column?.value(row)).ok());
        Some(PartitionId {
            generation: generation?,
            partition: partition?,
            epoch: epoch?,
        })
    }
}

type Test = fn(&Timestamp, &Timestamp) -> bool;
