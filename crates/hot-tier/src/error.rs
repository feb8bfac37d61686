//! What can go wrong, by what the caller does about it.

use event_proto::DecodeError;
use redis::{ErrorKind, RedisError};

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

/// What passes by itself: a server that starts, or that another takes the place of, or whose scripts
/// are to be loaded again.
const PASSING: [&str; 7] = [
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "NOSCRIPT",
    "READONLY",
    "TRYAGAIN",
];
/// It is full, or the disk of its append-only file is.
const FULL: [&str; 2] = ["MISCONF", "OOM"];

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        // A transaction that was refused is refused for what was said of its commands.
        let of_commands = error.clone().into_server_errors().unwrap_or_default();
        let says = |codes: &[&str]| {
            let said = of_commands.iter().map(|(_, error)| error.code());
            said.chain(error.code()).any(|code| codes.contains(&code))
        };
        if says(&FULL) {
            Self::Full(error)
        } else if says(&PASSING)
            || error.kind() == ErrorKind::Io
            || error.is_io_error()
            || error.is_timeout()
            || error.is_connection_dropped()
        {
            Self::Unavailable(error)
        } else {
            Self::Refused(error)
        }
    }
}
