//! Streams the result of a statement, batch after batch.

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use duckdb::Connection;

use crate::error::{Error, Result};

/// Runs `sql` and calls `on_batch` with each batch; returns `false` when `on_batch` did.
pub(crate) fn stream_rows(
    connection: &Connection,
    sql: &str,
    schema: &SchemaRef,
    mut on_batch: impl FnMut(RecordBatch) -> bool,
) -> Result<bool> {
    let mut statement = connection.prepare(sql)?;
    // The iterator panics on an error in the middle; `step` returns it.
    let _ = statement.stream_arrow([])?;
    while let Some(chunk) = statement.step()? {
        let batch = segment::conform(&RecordBatch::from(&chunk), schema)
            .map_err(|error| Error::Rows(error.to_string()))?;
        if !on_batch(batch) {
            return Ok(false);
        }
    }
    Ok(true)
}
