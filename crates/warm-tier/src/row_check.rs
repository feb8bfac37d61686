//! The comparison of a slice with the rows that the cold tier has of it: each row, by position and checksum.

mod removals;

use arrow::array::RecordBatch;
use duckdb::Connection;

pub use self::removals::{Removals, RowsMissing, Thinned};
use crate::{
    engine::{self, Engine},
    error::Result,
    manifest::Slice,
    sealed_partition::SealedPartition,
    slice_file,
};

/// The columns of the rows that are compared with a slice, in this order.
pub const PROOF_COLUMNS: [&str; 6] = ["generation", "partition", "epoch", "seq", "idx", "crc32c"];

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
        connection.execute_batch(
            "CREATE TEMP TABLE in_cold (generation INTEGER, partition INTEGER, epoch INTEGER, \
             seq BIGINT, idx INTEGER, crc32c BIGINT)",
        )?;
        Ok(Self { connection })
    }

    /// Adds rows with [`PROOF_COLUMNS`], also of other partitions.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database) when they have other columns or do not fit on the
    /// disk: begin again.
    pub fn add(&self, rows: RecordBatch) -> Result<()> {
        engine::append(&self.connection, "in_cold", rows)
    }

    /// Finds the rows of `slice` that are neither among these nor may be absent because of `removals`; `None`
    /// when the slice is no longer there.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database) when the slice cannot be read: try again later.
    pub fn missing(
        &self,
        sealed: &SealedPartition,
        slice: &Slice,
        removals: &Removals,
    ) -> Result<Option<RowsMissing>> {
        let (_, files) = sealed.snapshot();
        let Some(file) = files.iter().find(|file| file.slice == *slice) else {
            return Ok(None);
        };
        let metadata = match removals.rules.uses_labels() {
            true => "metadata",
            false => "NULL::VARCHAR AS metadata",
        };
        let columns = PROOF_COLUMNS.join(", ");
        slice_file::with_attached(&self.connection, &file.path, |alias| {
            self.connection.execute_batch(&format!(
                "CREATE OR REPLACE TEMP TABLE missing AS SELECT tenant, conversation_id, \
                 type::VARCHAR AS type, {metadata}, received_at, seq FROM {alias}.events \
                 ANTI JOIN temp.in_cold USING ({columns})"
            ))?;
            Ok(())
        })?;
        removals::subtract(&self.connection, removals).map(Some)
    }
}
