//! Conversion of a batch with equivalent columns to a given schema.

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, RecordBatch},
    compute::cast,
    datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType},
};

use crate::error::{Error, Result};

/// Converts `batch` to the columns of `schema`, found by name, in its order and types.
///
/// Accepts any order, further columns, and other types for the same values: dictionaries, large or
/// view strings, wider or narrower integers, timestamps of another unit or with a zone. A missing
/// column is filled with nulls if the schema allows it.
///
/// # Errors
/// [`Error::Missing`] for a missing column that may not be null, [`Error::Arrow`] for values that
/// cannot be converted. Permanent.
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

/// Converts `column` to `to`. Sets or removes a zone without changing the instant.
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
