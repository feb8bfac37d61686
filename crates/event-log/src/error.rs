//! What can go wrong, by what the caller does about it.

use std::error::Error as StdError;

use async_nats::jetstream::{
    self, ErrorCode,
    context::{CreateStreamError, CreateStreamErrorKind},
};
use event::{PartitionId, Seq};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A cluster that is starting or electing says these.
const UNAVAILABLE: [ErrorCode; 2] = [
    ErrorCode::CLUSTER_NOT_AVAILABLE,
    ErrorCode::CLUSTER_NOT_LEADER,
];

type Source = Box<dyn StdError + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log takes nothing until the tiers have caught up: come back later.
    #[error("the log of partition {0} is full")]
    Full(PartitionId),
    /// The message can never be stored: reject it.
    #[error("a message of {0} bytes is too large for the log")]
    TooLarge(usize),
    /// Nobody knows whether the message was stored: try again with the same message id.
    #[error("the log of partition {partition} did not answer, the outcome is unknown")]
    Unknown {
        partition: PartitionId,
        #[source]
        source: Source,
    },
    /// The log cannot be reached now; nothing happened: try again.
    #[error("the log cannot be reached: {what}")]
    Unavailable {
        what: &'static str,
        #[source]
        source: Source,
    },
    /// The log ends before a sequence that it has already given out: stop, a person must look.
    #[error("the log of partition {partition} went back: it ends at {last}, {known} was seen")]
    Regressed {
        partition: PartitionId,
        last: Seq,
        known: Seq,
    },
    /// A sequence is missing that was not purged: stop, a person must look.
    #[error("the log of partition {partition} misses {expected}, the next is {found}")]
    Gap {
        partition: PartitionId,
        expected: Seq,
        found: Seq,
    },
    /// The log is not set up as it must be: fix the configuration.
    #[error("{0}")]
    Setup(String),
    /// What is stored beside the log is not what we write.
    #[error("{what} in the log's shared state is damaged")]
    Damaged {
        what: String,
        #[source]
        source: Source,
    },
}

fn refusal(error: &(dyn StdError + 'static)) -> Option<jetstream::Error> {
    match error.downcast_ref::<CreateStreamError>()?.kind() {
        CreateStreamErrorKind::JetStream(refusal) => Some(refusal),
        _ => None,
    }
}

impl Error {
    pub(crate) fn unavailable(what: &'static str, source: impl Into<Source>) -> Self {
        Self::Unavailable {
            what,
            source: source.into(),
        }
    }

    /// The server's refusal of what we ask it to make is permanent; everything else may pass.
    pub(crate) fn setup(what: &'static str, error: impl StdError + Send + Sync + 'static) -> Self {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
        while let Some(error) = cause {
            if let Some(refusal) = refusal(error) {
                if UNAVAILABLE.contains(&refusal.error_code()) || refusal.code() == 503 {
                    break;
                }
                return Self::Setup(format!("nats refuses to {what}: {refusal}"));
            }
            cause = error.source();
        }
        Self::unavailable(what, error)
    }

    /// Whether the same call may succeed later without anybody doing anything about it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Full(_) | Self::Unknown { .. } | Self::Unavailable { .. }
        )
    }
}
