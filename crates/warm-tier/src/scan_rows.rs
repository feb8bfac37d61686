//! The rows of a scan from the slices that have them, in batches of few bytes.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{AsArray as _, RecordBatch},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
};
use duckdb::Connection;

use crate::{
    error::Result,
    row_stream::stream_rows,
    scan_parts::Parts,
    scan_request::{Order, Scan, Table},
    scan_sql::{self, SliceSource},
};

/// Columns whose values may be long.
const LONG_COLUMNS: [&str; 2] = ["content", "metadata"];

/// The columns of the statement that reads the lengths of rows.
static LENGTHS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let column = |name| Field::new(name, DataType::Int64, false);
    let columns = scan_sql::LENGTH_COLUMNS.map(column);
    Arc::new(Schema::new(columns.to_vec()))
});

/// Calls `on_batch` with batch after batch of the rows of `scan` in `sources`, until it returns `false`.
pub(crate) fn read(
    connection: &Connection,
    scan: &Scan,
    sources: &[SliceSource<'_>],
    schema: &SchemaRef,
    mut on_batch: impl FnMut(RecordBatch) -> bool,
) -> Result<()> {
    let together = match scan.order {
        Order::None => 1,
        Order::Asc | Order::Desc => sources.len().max(1),
    };
    let mut left = scan.clone();
    for sources in sources.chunks(together) {
        let parts = parts(connection, &left, sources, schema)?;
        let last = parts.as_ref().map(|parts| parts.rows).or(left.limit);
        let parts = parts.map_or(vec![None], |parts| {
            parts.parts.into_iter().map(Some).collect()
        });
        let mut rows_left = last;
        for part in parts {
            let selects = sources.iter();
            let selects = selects.map(|source| scan_sql::select(scan, source, part.as_ref()));
            let selects = selects.collect::<Vec<_>>().join(" UNION ALL ");
            let sql = scan_sql::statement(scan, schema, &selects, rows_left);
            let wants_more = stream_rows(connection, &sql, schema, |batch| {
                let rows = batch.num_rows() as u64;
                rows_left = rows_left.map(|left| left.saturating_sub(rows));
                left.limit = left.limit.map(|left| left.saturating_sub(rows));
                on_batch(batch)
            })?;
            if !wants_more || left.limit == Some(0) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Divides the rows of `scan` by the lengths of their values; `None` if these are all short.
fn parts(
    connection: &Connection,
    scan: &Scan,
    sources: &[SliceSource<'_>],
    schema: &SchemaRef,
) -> Result<Option<Parts>> {
    let mut long = LONG_COLUMNS.iter();
    if scan.table != Table::Events || !long.any(|name| schema.field_with_name(name).is_ok()) {
        return Ok(None);
    }
    let mut parts = Parts::new(scan.max_bytes);
    let sql = scan_sql::lengths(scan, sources);
    stream_rows(connection, &sql, &LENGTHS, |batch| {
        let column = |index: usize| batch.column(index).as_primitive::<Int64Type>();
        let (major, minor, bytes) = (column(0), column(1), column(2));
        (0..batch.num_rows()).all(|row| {
            let length = u64::try_from(bytes.value(row)).unwrap_or(0);
            parts.add((major.value(row), minor.value(row)), length)
        })
    })?;
    Ok(Some(parts))
}
