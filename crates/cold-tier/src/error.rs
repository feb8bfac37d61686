//! Errors, grouped by what the caller can do about them.

use deltalake_core::DeltaTableError;

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the cold tier. [`Error::is_transient`] says whether to retry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address or an option is wrong, or a scan names an unknown column. Correct it.
    #[error("{0}")]
    Config(String),
    /// The store lacks a guarantee that commits rely on. Use another store.
    #[error("the store cannot hold the cold tier: {0}")]
    Unfit(String),
    /// The tables belong to another store. Use another place.
    #[error(
        "the cold tier at {address} belongs to store {found}, this is store {own}: two stores need two places; \
         use another --cold / --cold-url"
    )]
    OtherStore {
        address: String,
        found: String,
        own: String,
    },
    /// The store did not answer in time, or answered with a passing error. Retry.
    #[error("the store is not available")]
    Unavailable(#[source] object_store::Error),
    /// The store refused the request: credentials, permissions or an invalid path.
    #[error("the store refused the request")]
    Refused(#[source] object_store::Error),
    /// An object does not exist. Either the snapshot is old: take a new one and retry. Or the file is
    /// still live: then it is damaged.
    #[error("object {path} is missing")]
    Gone { path: String },
    /// An object differs from its hash or its log entry. Its rows are never returned.
    #[error("object {path} is damaged: {reason}")]
    Damaged { path: String, reason: String },
    /// The Delta log is damaged, or needs a newer reader.
    #[error("the log of {table} is not readable: {reason}")]
    Log { table: &'static str, reason: String },
    /// An error of the Delta library that does not come from the store.
    #[error("delta")]
    Delta(#[source] DeltaTableError),
    /// A change does not say for every row of the files that it removes where the row is now. Nothing
    /// was committed.
    #[error(
        "the change removes files with {removed} rows, adds {added} and drops {dropped}: it does not add up"
    )]
    Unbalanced {
        removed: u64,
        added: u64,
        dropped: u64,
    },
    /// Rows do not have the table's schema, or cannot be decoded.
    #[error("rows of {path}")]
    Rows {
        path: String,
        #[source]
        source: segment::Error,
    },
    /// A blocking task was cancelled, because the process is stopping.
    #[error("stopped")]
    Stopped,
}

impl Error {
    /// Returns whether a retry may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Gone { .. } => true,
            Self::Delta(DeltaTableError::ObjectStore { source }) => is_transient(source),
            _ => false,
        }
    }

    /// Returns whether an object that should exist does not, or is not what its log entry says.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Gone { .. } | Self::Damaged { .. } | Self::Rows { .. }
        )
    }
}

fn is_transient(error: &object_store::Error) -> bool {
    use object_store::Error as E;
    !matches!(
        error,
        E::NotFound { .. }
            | E::InvalidPath { .. }
            | E::NotSupported { .. }
            | E::NotImplemented { .. }
            | E::PermissionDenied { .. }
            | E::Unauthenticated { .. }
            | E::UnknownConfigurationKey { .. }
    )
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { path, .. } => Self::Gone { path },
            error if is_transient(&error) => Self::Unavailable(error),
            error => Self::Refused(error),
        }
    }
}

impl From<DeltaTableError> for Error {
    fn from(error: DeltaTableError) -> Self {
        match error {
            DeltaTableError::ObjectStore { source } => source.into(),
            other => Self::Delta(other),
        }
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Self::Stopped,
        }
    }
}
