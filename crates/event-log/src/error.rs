//! What can go wrong, by what the caller does about it.

use std::error::Error as StdError;

use event::{PartitionId, Seq};

pub type Result<T, E = Error> = std::result::Result<T, E>;

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

impl Error {
    pub(crate) fn unavailable(what: &'static str, source: impl Into<Source>) -> Self {
        Self::Unavailable {
            what,
            source: source.into(),
        }
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
