//! The last message that this process has seen of each partition's log, and whether it is still there.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use event::{PartitionCount, PartitionId, Seq};
use tokio::time::Instant;

use crate::{error::Error, message::LogMessage};

/// A latched partition is compared again after so long: a person may have restored its log.
pub const LATCH_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The identity of a message: a hash of its message id or, without one, of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageIdentity(u64);

impl MessageIdentity {
    pub(crate) fn of_id(message_id: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        message_id.hash(&mut hasher);
        Self(hasher.finish())
    }

    pub(crate) fn of_message(message: &LogMessage) -> Self {
        if !message.message_id.is_empty() {
            return Self::of_id(&message.message_id);
        }
        let mut hasher = DefaultHasher::new();
        message.payload.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// What is known of all partitions.
#[derive(Debug)]
pub(crate) struct SeenLogs(Box<[Mutex<SeenLog>]>);

/// What is known of one partition.
#[derive(Debug, Default)]
pub(crate) struct SeenLog {
    pub(crate) last: Option<(Seq, MessageIdentity)>,
    /// The connection on which the log was compared last.
    pub(crate) connection: u64,
    /// Why the partition is latched, and when that was found last.
    pub(crate) latched: Option<(Divergence, Instant)>,
}

/// How a log differs from what was seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Divergence {
    /// It ends at `last`, before `known`.
    Regressed { last: Seq, known: Seq },
    /// It has another message at `seq`.
    Replaced { seq: Seq },
}

impl Divergence {
    pub(crate) fn error(self, partition: PartitionId) -> Error {
        match self {
            Self::Regressed { last, known } => Error::Regressed {
                partition,
                last,
                known,
            },
            Self::Replaced { seq } => Error::Replaced { partition, seq },
        }
    }
}

impl Default for SeenLogs {
    fn default() -> Self {
        let logs = (0..PartitionCount::MAX_PARTITIONS).map(|_| Mutex::default());
        Self(logs.collect())
    }
}

impl SeenLogs {
    pub(crate) fn of(&self, partition: PartitionId) -> Option<MutexGuard<'_, SeenLog>> {
        let log = self.0.get(usize::from(partition.partition))?;
        Some(log.lock().expect("nothing panics while it holds the lock"))
    }
}

impl SeenLog {
    /// Whether the log must be compared before anything else is done on `connection`.
    pub(crate) fn is_due(&self, connection: u64) -> bool {
        match &self.latched {
            Some((_, at)) => self.connection != connection || at.elapsed() >= LATCH_CHECK_INTERVAL,
            None => self.connection != connection && self.last.is_some(),
        }
    }
}
