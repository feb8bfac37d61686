//! Errors of the hot tier, one variant per reaction of the caller.

use event_proto::DecodeError;
use redis::{ErrorKind, RedisError};

/// The result of a call to the hot tier.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the hot tier; each variant says what the caller should do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server cannot be reached now, or is still loading. Transient: retry.
    #[error("the hot tier cannot be reached")]
    Unavailable(#[source] RedisError),
    /// The server takes no writes until something is trimmed. Transient: retry later.
    #[error("the hot tier is full")]
    Full(#[source] RedisError),
    /// A stored entry is not what was written. Permanent: read from another tier; an operator must look.
    #[error("an entry of {key} in the hot tier is damaged")]
    Damaged {
        key: String,
        #[source]
        source: DecodeError,
    },
    /// The server, or what it holds, is unfit. Permanent: fix the configuration that the text names.
    #[error("{0}")]
    Setup(String),
    /// The server refuses the call and will refuse it again. Permanent: stop; an operator must look.
    #[error("the hot tier refuses")]
    Refused(#[source] RedisError),
}

impl Error {
    /// Returns whether a retry of the same call may succeed without any intervention.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Full(_))
    }

    /// A damaged pack under `key`.
    pub(crate) fn damaged(key: &str, source: DecodeError) -> Self {
        let key = key.to_owned();
        Self::Damaged { key, source }
    }

    /// A value under `key` whose `field` does not have the expected form.
    pub(crate) fn shape(key: &str, field: &'static str) -> Self {
        Self::damaged(key, DecodeError::Field(field))
    }
}

/// Error codes of transient conditions: a server that starts or fails over, or that has to load the
/// scripts again.
const TRANSIENT_CODES: [&str; 7] = [
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "NOSCRIPT",
    "READONLY",
    "TRYAGAIN",
];
/// Error codes of a server whose memory, or whose disk for the append-only file, is full.
const FULL_CODES: [&str; 2] = ["MISCONF", "OOM"];

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        // An aborted transaction has its reasons in the errors of its commands.
        let command_errors = error.clone().into_server_errors().unwrap_or_default();
        let has = |codes: &[&str]| {
            let command_codes = command_errors.iter().map(|(_, error)| error.code());
            command_codes
                .chain(error.code())
                .any(|code| codes.contains(&code))
        };
        if has(&FULL_CODES) {
            Self::Full(error)
        } else if has(&TRANSIENT_CODES)
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
