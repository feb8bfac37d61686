//! Any batch with the right columns, in the shape of a schema.

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, RecordBatch},
    compute::cast,
    datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType},
};

use crate::error::{Error, Result};

/// `batch` with the columns of `schema`, found by name, in its order and types.
///
/// Takes any order, further columns, and other types for the same values: dictionaries, large or
/// view strings, wider or narrower integers, timestamps of another unit or with a zone. A missing
/// column is taken as null where the schema allows it.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => converted(column, field.data_type()),
            None if field.is_nullable() => Ok(arrow::array::new_null_array(
                field.data_type(),
                batch.num_rows(),
            )),
            None => Err(Error::Missing(field.name().clone())),
        });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        SchemaRef::clone(schema),
        columns,
        &options,
    )?)
}

/// `column` as `to`. A zone is dropped or set without moving the instant.
fn converted(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if column.data_type() == to {
        return Ok(ArrayRef::clone(column));
    }
    let (DataType::Timestamp(_, zone), DataType::Timestamp(TimeUnit::Microsecond, wanted)) =
        (column.data_type(), to)
    else {
        return Ok(cast(column, to)?);
    };
    let micros = cast(
        column,
        &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
    )?;
    let micros = micros.as_primitive::<TimestampMicrosecondType>().clone();
    Ok(std::sync::Arc::new(
        micros.with_timezone_opt(wanted.clone()),
    ))
}
