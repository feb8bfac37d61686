//! What can go wrong, by what the caller does about it.

use std::{io, path::PathBuf};

use event::{PartitionId, SeqRange};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the warm tier.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// DuckDB refused; after a failed COMMIT or a FATAL error only a new process may go on.
    #[error("duckdb: {0}")]
    Database(#[from] duckdb::Error),
    #[error("{what} {path}")]
    File {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Another process works on the data folder.
    #[error("{path} is in use by another compactor; stop that one first")]
    Locked { path: PathBuf },
    /// A file that is not what the manifest says of it.
    #[error("{path} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
    /// The batch does not continue the open segment.
    #[error("{partition}: the batch starts at {found}, expected {expected}")]
    Gap {
        partition: PartitionId,
        expected: u64,
        found: u64,
    },
    /// What was asked for has moved or gone since the coverage was read: read it again, plan again.
    #[error("{partition}: {range} is not sealed here")]
    NotCovered {
        partition: PartitionId,
        range: SeqRange,
    },
    /// A request that can never be answered.
    #[error("invalid request: {0}")]
    Invalid(String),
    #[error("arrow: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    #[error("encode or decode rows: {0}")]
    Rows(String),
    /// The compactor does not answer now.
    #[error("warm tier is unavailable: {0}")]
    Unavailable(String),
    /// The compactor answered something else than it should.
    #[error("warm tier: {0}")]
    Remote(String),
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::NotCovered { .. })
    }

    pub(crate) fn file(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }

    pub(crate) fn damaged(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Damaged {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}
