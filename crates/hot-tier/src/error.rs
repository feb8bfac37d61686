//! What can go wrong, by what the caller does about it.

use event_proto::DecodeError;
use redis::{ErrorKind, RedisError, ServerErrorKind};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached now, or is still loading: try again.
    #[error("the hot tier cannot be reached")]
    Unavailable(#[source] RedisError),
    /// It takes nothing until something is trimmed: try again later.
    #[error("the hot tier is full")]
    Full(#[source] RedisError),
    /// A stored entry is not what was written: read it elsewhere; a person must look.
    #[error("an entry of {key} in the hot tier is damaged")]
    Damaged {
        key: String,
        #[source]
        source: DecodeError,
    },
    /// The rows asked for are more than the caller allows: ask for less.
    #[error("the hot tier holds more than {0} bytes of what was asked for")]
    TooLarge(usize),
    /// The server, or what it holds, is not as it must be: fix the configuration.
    #[error("{0}")]
    Setup(String),
    /// The server refuses the call and will again: stop, a person must look.
    #[error("the hot tier refuses")]
    Refused(#[source] RedisError),
}

impl Error {
    /// Whether the same call may succeed later without anybody doing anything about it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Full(_))
    }

    pub(crate) fn damaged(key: &str, source: DecodeError) -> Self {
        let key = key.to_owned();
        Self::Damaged { key, source }
    }

    pub(crate) fn shape(key: &str, field: &'static str) -> Self {
        Self::damaged(key, DecodeError::Field(field))
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        let passes = matches!(
            error.kind(),
            ErrorKind::Io
                | ErrorKind::Server(
                    ServerErrorKind::BusyLoading
                        | ServerErrorKind::TryAgain
                        | ServerErrorKind::ClusterDown
                        | ServerErrorKind::MasterDown
                        | ServerErrorKind::ReadOnly
                        | ServerErrorKind::NoScript
                )
        );
        if is_full(&error) {
            Self::Full(error)
        } else if passes
            || error.is_io_error()
            || error.is_timeout()
            || error.is_connection_dropped()
            || error.code() == Some("BUSY")
        {
            Self::Unavailable(error)
        } else {
            Self::Refused(error)
        }
    }
}

/// `OOM` itself, or the disk of the append-only file. A transaction says it of its commands.
fn is_full(error: &RedisError) -> bool {
    let full = |code: &str| matches!(code, "OOM" | "MISCONF");
    let of_commands = error.clone().into_server_errors().unwrap_or_default();
    error.code().is_some_and(full) || of_commands.iter().any(|(_, error)| full(error.code()))
}
