//! The statistics of a file's log entry: by them every engine passes over files it does not need.

use arrow::{
    array::{Array as _, AsArray as _, RecordBatch},
    datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType},
};
use event::Timestamp;
use serde_json::{Map, Value, json};

/// The columns that queries narrow by, in all three tables.
const COLUMNS: [&str; 8] = [
    "tenant",
    "conversation_id",
    "timestamp",
    "received_at",
    "hour",
    "partition",
    "seq",
    "last_timestamp",
];

/// `stats` of an `add`: row count, least and greatest values, nulls.
pub(crate) fn stats(batch: &RecordBatch) -> String {
    let (mut min, mut max, mut nulls) = (Map::new(), Map::new(), Map::new());
    for name in COLUMNS {
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

fn bounds(column: &dyn arrow::array::Array) -> Option<(Value, Value)> {
    fn of<T: Ord + Copy>(values: impl Iterator<Item = T> + Clone) -> Option<(T, T)> {
        Some((values.clone().min()?, values.max()?))
    }
    match column.data_type() {
        DataType::Utf8 => {
            let (min, max) = of(column.as_string::<i32>().iter().flatten())?;
            Some((json!(min), json!(max)))
        }
        DataType::Int32 => {
            let (min, max) = of(column.as_primitive::<Int32Type>().iter().flatten())?;
            Some((json!(min), json!(max)))
        }
        DataType::Int64 => {
            let (min, max) = of(column.as_primitive::<Int64Type>().iter().flatten())?;
            Some((json!(min), json!(max)))
        }
        DataType::Timestamp(..) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>();
            let (min, max) = of(micros.iter().flatten())?;
            let text = |micros| json!(Timestamp::from_micros(micros).to_string());
            Some((text(min), text(max)))
        }
        _ => None,
    }
}
