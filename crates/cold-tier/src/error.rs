//! What can go wrong, by what the caller does about it.

use deltalake_core::DeltaTableError;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address or an option is wrong.
    #[error("{0}")]
    Config(String),
    /// The store does not do what commits rely on.
    #[error("the store cannot hold the cold tier: {0}")]
    Unfit(String),
    /// The store did not answer, or not yet.
    #[error("the store is not available")]
    Unavailable(#[source] object_store::Error),
    /// The store refused.
    #[error("the store refused")]
    Refused(#[source] object_store::Error),
    /// An object of an older snapshot is gone; a newer snapshot does without it.
    #[error("object {path} is gone")]
    Gone { path: String },
    /// An object is not what its name or its log entry says. Never returned to a reader.
    #[error("object {path} is damaged: {reason}")]
    Damaged { path: String, reason: String },
    /// The Delta log holds what this version cannot read.
    #[error("the log of {table} is not readable: {reason}")]
    Log { table: &'static str, reason: String },
    #[error("delta")]
    Delta(#[source] DeltaTableError),
    #[error("rows of {path}")]
    Rows {
        path: String,
        #[source]
        source: segment::Error,
    },
    /// A blocking task was cancelled: the process is stopping.
    #[error("stopped")]
    Stopped,
}

impl Error {
    /// Whether trying again may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Gone { .. } => true,
            Self::Delta(DeltaTableError::ObjectStore { source }) => is_transient(source),
            _ => false,
        }
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
