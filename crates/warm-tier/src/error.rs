//! The errors of the warm tier, by what the caller does about them.

use std::{io, path::PathBuf};

use event::{PartitionId, SeqRange};

/// A result with the warm tier's [`Error`] by default.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the warm tier.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// DuckDB failed; after a failed COMMIT or a FATAL error only a new process may go on.
    #[error("duckdb: {0}")]
    Database(#[from] duckdb::Error),
    /// A file operation failed; `what` is the operation.
    #[error("{what} {path}")]
    File {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Another process has locked the data folder.
    #[error("{path} is in use by another compactor; stop that one first")]
    Locked { path: PathBuf },
    /// The data folder belongs to another store.
    #[error(
        "the warm volume at {path} belongs to store {found}, this is store {own}: two stores need two places; use \
         another --data"
    )]
    OtherStore {
        path: PathBuf,
        found: String,
        own: String,
    },
    /// A file is missing or differs from what the manifest says of it.
    #[error("{path} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
    /// The batch does not continue the open segment.
    #[error("{partition}: the batch starts at {found}, expected {expected}")]
    Gap {
        partition: PartitionId,
        expected: u64,
        found: u64,
    },
    /// The requested range is not sealed here, or slices were removed since the coverage was read:
    /// read it again, plan again.
    #[error("{partition}: {range} is not sealed here")]
    NotCovered {
        partition: PartitionId,
        range: SeqRange,
    },
    /// A request that can never be answered.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// Arrow data could not be encoded or decoded.
    #[error("arrow: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// Rows do not have the form that their schema says.
    #[error("encode or decode rows: {0}")]
    Rows(String),
    /// The compactor does not answer now: retry.
    #[error("warm tier is unavailable: {0}")]
    Unavailable(String),
    /// The compactor's answer is malformed, or an internal error of the compactor.
    #[error("warm tier: {0}")]
    Remote(String),
}

impl Error {
    /// Returns whether a retry may succeed, once the coverage has been read again.
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
