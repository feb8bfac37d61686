//! The errors of the log, one variant for each way in which the caller reacts.

use std::error::Error as StdError;

use async_nats::jetstream::{
    self, ErrorCode,
    context::{CreateStreamError, CreateStreamErrorKind},
};
use event::{PartitionId, Seq};

/// A result whose error is [`Error`] unless stated.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The refusals of a cluster that is starting or electing a leader: transient.
const UNAVAILABLE_CODES: [ErrorCode; 2] = [
    ErrorCode::CLUSTER_NOT_AVAILABLE,
    ErrorCode::CLUSTER_NOT_LEADER,
];

type Source = Box<dyn StdError + Send + Sync>;

/// An error of the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The partition has no space until the tiers have caught up and the log is purged: retry later.
    #[error("the log of partition {0} is full")]
    Full(PartitionId),
    /// There is no space for another dead letter: retry when a person has replayed or dropped some.
    #[error("the stream of dead letters is full; replay or drop some with `isotherm dlq`")]
    DeadLettersFull,
    /// The message is larger than the log accepts, and was not stored: reject it.
    #[error("a message of {0} bytes is too large for the log")]
    TooLarge(usize),
    /// The message may or may not have been stored: retry with the same message id.
    #[error("the log of partition {partition} did not answer, the outcome is unknown")]
    Unknown {
        partition: PartitionId,
        #[source]
        source: Source,
    },
    /// The log cannot be reached now, and nothing was changed: retry.
    #[error("the log cannot be reached: {what}")]
    Unavailable {
        what: &'static str,
        #[source]
        source: Source,
    },
    /// The log ends before a sequence that it has already assigned: stop, an operator must investigate.
    #[error(
        "the log of partition {partition} went back: it ends at {last}, {known} was seen; this is an older copy, or \
         another log: restore the right one (see \"Back up and restore\" in docs/operations.md)"
    )]
    Regressed {
        partition: PartitionId,
        last: Seq,
        known: Seq,
    },
    /// The log has another message at a sequence than was seen there: stop, an operator must investigate.
    #[error(
        "the log of partition {partition} has another message at {seq} than was seen there; this is an \
         older copy, or another log: restore the right one (see \"Back up and restore\" in docs/operations.md)"
    )]
    Replaced { partition: PartitionId, seq: Seq },
    /// A sequence is missing that was not purged: stop, an operator must investigate.
    #[error("the log of partition {partition} misses {expected}, the next is {found}")]
    Gap {
        partition: PartitionId,
        expected: Seq,
        found: Seq,
    },
    /// The log has another configuration than it must have: fix it.
    #[error("{0}")]
    Setup(String),
    /// A value in a key-value bucket beside the log cannot be read: permanent.
    #[error("{what} in the log's shared state is damaged")]
    Damaged {
        what: String,
        #[source]
        source: Source,
    },
}

/// The server's answer, if `error` is one to a request to create a stream.
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

    /// The error of a request to create something: permanent if the server refused it, unless the
    /// cluster was only not ready; otherwise transient.
    pub(crate) fn setup(what: &'static str, error: impl StdError + Send + Sync + 'static) -> Self {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
        while let Some(error) = cause {
            if let Some(refusal) = refusal(error) {
                if UNAVAILABLE_CODES.contains(&refusal.error_code()) || refusal.code() == 503 {
                    break;
                }
                return Self::Setup(format!("nats refuses to {what}: {refusal}"));
            }
            cause = error.source();
        }
        Self::unavailable(what, error)
    }

    /// Returns true if the log is an older copy, or another one: its partition is latched.
    #[must_use]
    pub fn is_divergence(&self) -> bool {
        matches!(self, Self::Regressed { .. } | Self::Replaced { .. })
    }

    /// Returns true if a retry of the same call may succeed without intervention.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Full(_) | Self::DeadLettersFull | Self::Unknown { .. } | Self::Unavailable { .. }
        )
    }
}
