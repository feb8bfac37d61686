//! What can be wrong with a batch or a file.

use arrow::error::ArrowError;
use event::Position;
use parquet::errors::ParquetError;

pub type Result<T> = std::result::Result<T, Error>;

/// Never transient: the same bytes fail again.
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
    /// Whether trying again may help: it never does.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        false
    }

    /// Whether the bytes themselves are damaged, rather than of another shape than expected.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Checksum { .. } | Self::Value { .. } | Self::Parquet(_)
        )
    }
}
