//! The errors of batches and files.

use arrow::error::ArrowError;
use event::Position;
use parquet::errors::ParquetError;

/// A result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// The reason why a batch or a file cannot be used. Permanent: the same bytes fail again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there are no rows")]
    Empty,
    #[error("column {0} is missing")]
    Missing(String),
    #[error("column {column} has no valid value in row {row}")]
    Value { column: &'static str, row: usize },
    #[error("the event at {position} does not match its checksum")]
    Checksum { position: Position },
    #[error("not a record batch of the expected schema")]
    Arrow(#[from] ArrowError),
    #[error("not a Parquet file of the expected schema")]
    Parquet(#[from] ParquetError),
}

impl Error {
    /// Returns false: a retry of the same bytes never succeeds.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        false
    }

    /// Returns true if the bytes themselves are damaged, false if they only have another schema than
    /// expected.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Checksum { .. } | Self::Value { .. } | Self::Parquet(_)
        )
    }
}
