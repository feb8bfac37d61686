//! The errors of the warm tier, by what the caller does about them.

use std::{
    io,
    path::{Path, PathBuf},
};

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
    /// The compactor that answers is of another store.
    #[error(
        "the compactor at {url} is of store {found}, this is store {own}: give the URL of the compactor of this store"
    )]
    OtherCompactor {
        url: String,
        found: String,
        own: String,
    },
    /// A file is missing or differs from what the manifest says of it.
    #[error("{path} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
    /// The frames do not continue the open part.
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

/// Parts of DuckDB's messages when its memory limit is reached; those of an appender have no class in front.
const MEMORY_ERRORS: [&str; 5] = [
    "Out of Memory Error",
    "could not allocate block",
    "failed to allocate data",
    "failed to offload data block",
    "failed to pin block",
];
/// Parts of DuckDB's messages for other errors of the machine: an interruption, and what the system says
/// for `ENOMEM`, `EMFILE`, `ENFILE`, `EINTR`, `EAGAIN`, `ENOSPC`, `EIO`, `EACCES`, `EBUSY` and `ETIMEDOUT`.
const MACHINE_ERRORS: [&str; 10] = [
    "INTERRUPT Error",
    "Cannot allocate memory",
    "Too many open files",
    "Interrupted system call",
    "Resource temporarily unavailable",
    "No space left on device",
    "Input/output error",
    "Permission denied",
    "Device or resource busy",
    "Connection timed out",
];

impl Error {
    /// Returns whether a retry may succeed, once the coverage has been read again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::NotCovered { .. })
    }

    /// Returns whether DuckDB has reached its memory limit.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        self.has_message_with(&MEMORY_ERRORS)
    }

    /// Returns whether the cause is outside of the file: the machine lacks memory, descriptors, space or
    /// time now, or the statement was interrupted. Such an error says nothing about the file.
    #[must_use]
    pub fn is_of_the_machine(&self) -> bool {
        if let Self::File { source, .. } = self {
            let kind = source.kind();
            return !matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof);
        }
        self.is_out_of_memory() || self.has_message_with(&MACHINE_ERRORS)
    }

    /// The error of reading the file at `path`: [`Error::Damaged`], unless the cause is outside of it.
    pub(crate) fn of_file(self, path: &Path) -> Self {
        match self.is_of_the_machine() {
            true => self,
            false => Self::damaged(path, self),
        }
    }

    /// Whether DuckDB's message has one of `parts`.
    fn has_message_with(&self, parts: &[&str]) -> bool {
        match self {
            Self::Database(duckdb::Error::DuckDBFailure(_, Some(message))) => {
                parts.iter().any(|part| message.contains(part))
            }
            _ => false,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of_duckdb(message: &str) -> Error {
        let code = duckdb::ffi::Error::new(1);
        duckdb::Error::DuckDBFailure(code, Some(message.to_owned())).into()
    }

    #[test]
    fn only_what_is_wrong_with_a_file_is_damage() {
        for message in [
            "Out of Memory Error: could not allocate block of size 256.0 KiB",
            "Failed to append: failed to offload data block of size 1.0 MiB (0 bytes/0 bytes used).",
            "IO Error: Cannot open file \"L0.duckdb\": Too many open files",
            "INTERRUPT Error: Interrupted!",
        ] {
            let error = of_duckdb(message).of_file(Path::new("f"));
            assert!(matches!(error, Error::Database(_)), "{message}");
        }
        for message in [
            "IO Error: Corrupt database file: computed checksum 1 does not match stored checksum 2",
            "IO Error: The file \"f\" exists, but it is not a valid DuckDB database file!",
            "IO Error: Could not read enough bytes from file \"f\"",
        ] {
            let error = of_duckdb(message).of_file(Path::new("f"));
            assert!(matches!(error, Error::Damaged { .. }), "{message}");
        }
        let cut = Error::file("read", "f")(io::ErrorKind::UnexpectedEof.into());
        assert!(!cut.is_of_the_machine());
        let denied = Error::file("read", "f")(io::ErrorKind::PermissionDenied.into());
        assert!(denied.is_of_the_machine());
    }
}
