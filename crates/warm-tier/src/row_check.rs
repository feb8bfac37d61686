//! The comparison of a slice with the rows that the cold tier has of it: each row, by position and checksum.

use arrow::array::RecordBatch;
use duckdb::Connection;

use crate::{
    engine::{self, Engine},
    error::Result,
    manifest::Slice,
    sealed_partition::SealedPartition,
    slice_file,
};

/// The columns of the rows that are compared with a slice, in this order.
pub const PROOF_COLUMNS: [&str; 3] = ["seq", "idx", "crc32c"];

/// The rows that the cold tier has, to be compared with those of a slice. DuckDB has them, and spills them to the disk.
#[derive(Debug)]
pub struct RowCheck {
    connection: Connection,
}

impl RowCheck {
    /// Begins without rows.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database): try again later.
    pub fn begin(engine: &Engine) -> Result<Self> {
        let connection = engine.connect()?;
        connection
            .execute_batch("CREATE TEMP TABLE in_cold (seq BIGINT, idx INTEGER, crc32c BIGINT)")?;
        Ok(Self { connection })
    }

    /// Adds rows with [`PROOF_COLUMNS`].
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database) when they have other columns or do not fit on the
    /// disk: begin again.
    pub fn add(&self, rows: RecordBatch) -> Result<()> {
        engine::append(&self.connection, "in_cold", rows)
    }

    /// Counts the rows of `slice` that are not among these; `None` when the slice is no longer there.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database) when the slice cannot be read: try again later.
    pub fn missing(&self, sealed: &SealedPartition, slice: &Slice) -> Result<Option<u64>> {
        let (_, files) = sealed.snapshot();
        let Some(file) = files.iter().find(|file| file.slice == *slice) else {
            return Ok(None);
        };
        slice_file::with_attached(&self.connection, &file.path, |alias| {
            let sql = format!(
                "SELECT count(*) FROM {alias}.events ANTI JOIN temp.in_cold USING (seq, idx, crc32c)"
            );
            Ok(Some(self.connection.query_row(&sql, [], |row| row.get(0))?))
        })
    }
}
