//! The statistics of a file's log entry, by which every engine skips files that it does not need.

use std::sync::Arc;

use arrow::{
    array::{Array as _, AsArray as _, RecordBatch},
    compute::concat_batches,
    datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType},
};
use event::Timestamp;
use serde_json::{Map, Value, json};

use crate::table::Table;

/// Columns that queries filter by, in any of the three tables.
const STATS_COLUMNS: [&str; 8] = [
    "tenant",
    "conversation_id",
    "timestamp",
    "received_at",
    "hour",
    "partition",
    "seq",
    "last_timestamp",
];

/// Returns the `stats` of an `add` action as JSON: number of rows, least and greatest values,
/// nulls.
pub(crate) fn stats(batch: &RecordBatch) -> String {
    let (mut min, mut max, mut nulls) = (Map::new(), Map::new(), Map::new());
    for name in STATS_COLUMNS {
        let Some(column) = batch.column_by_name(name) else {
            continue;
        };
        nulls.insert(name.to_owned(), json!(column.null_count()));
        if let Some((least, greatest)) = bounds(column.as_ref()) {
            min.insert(name.to_owned(), least);
            max.insert(name.to_owned(), greatest);
        }
    }
    json!({
        "numRecords": batch.num_rows(),
        "minValues": min,
        "maxValues": max,
        "nullCount": nulls,
    })
    .to_string()
}

/// Returns the statistics of the rows of a file that was read, whose batches have the columns of its path
/// in addition.
pub(crate) fn stats_of_batches(table: Table, batches: &[RecordBatch]) -> segment::Result<String> {
    let Some(first) = batches.first() else {
        return Ok(stats(&RecordBatch::new_empty(table.schema())));
    };
    let schema = first.schema();
    let is_in_file = |name: &str| !table.partition_columns().contains(&name);
    let names = STATS_COLUMNS.iter().filter(|name| is_in_file(name));
    let columns: Vec<_> = names
        .filter_map(|name| schema.index_of(name).ok())
        .collect();
    let parts = batches.iter().map(|batch| batch.project(&columns));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    Ok(stats(&concat_batches(
        &Arc::new(schema.project(&columns)?),
        &parts,
    )?))
}

/// The least and the greatest value; `None` for a column of nulls or of another type.
fn bounds(column: &dyn arrow::array::Array) -> Option<(Value, Value)> {
    fn min_max<T: Ord + Copy>(values: impl Iterator<Item = T> + Clone) -> Option<(T, T)> {
        Some((values.clone().min()?, values.max()?))
    }
    match column.data_type() {
        DataType::Utf8 => {
            let (min, max) = min_max(column.as_string::<i32>().iter().flatten())?;
            Some((json!(min), json!(max)))
        }
        DataType::Int32 => {
            let (min, max) = min_max(column.as_primitive::<Int32Type>().iter().flatten())?;
            Some((json!(min), json!(max)))
        }
        DataType::Int64 => {
            let (min, max) = min_max(column.as_primitive::<Int64Type>().iter().flatten())?;
            Some((json!(min), json!(max)))
        }
        DataType::Timestamp(..) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>();
            let (min, max) = min_max(micros.iter().flatten())?;
            let text = |micros| json!(Timestamp::from_micros(micros).to_string());
            Some((text(min), text(max)))
        }
        _ => None,
    }
}
