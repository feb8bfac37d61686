//! The fence of a partition: the last message that this process has seen of its log. A log that no
//! longer has it is an older copy, or another log, which would assign known sequences to new messages.
//!
//! It is compared at every new connection. Until the log has the message again, the partition is
//! latched: nothing is appended, read or purged.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream::stream::RawMessageErrorKind};
use event::{PartitionCount, PartitionId, Seq};
use tokio::time::Instant;
use tracing::{error, info};

use crate::{
    error::{Error, Result},
    log::EventLog,
};

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

    pub(crate) fn of_message(headers: Option<&HeaderMap>, payload: &[u8]) -> Self {
        match headers.and_then(|headers| headers.get(NATS_MESSAGE_ID)) {
            Some(id) => Self::of_id(id.as_str()),
            None => {
                let mut hasher = DefaultHasher::new();
                payload.hash(&mut hasher);
                Self(hasher.finish())
            }
        }
    }
}

/// The fences of all partitions.
#[derive(Debug)]
pub(crate) struct Fences(Box<[Mutex<Fence>]>);

/// What is known of one partition.
#[derive(Debug, Default)]
struct Fence {
    last: Option<(Seq, MessageIdentity)>,
    /// The connection on which the log was compared last.
    connection: u64,
    /// Why the partition is latched, and when that was found last.
    latched: Option<(Divergence, Instant)>,
}

/// How a log differs from what was seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Divergence {
    /// It ends at `last`, before `known`.
    Regressed { last: Seq, known: Seq },
    /// It has another message at `seq`.
    Replaced { seq: Seq },
}

impl Divergence {
    fn error(self, partition: PartitionId) -> Error {
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

impl Default for Fences {
    fn default() -> Self {
        let fences = (0..PartitionCount::MAX_PARTITIONS).map(|_| Mutex::default());
        Self(fences.collect())
    }
}

impl Fences {
    fn of(&self, partition: PartitionId) -> Option<MutexGuard<'_, Fence>> {
        let fence = self.0.get(usize::from(partition.partition))?;
        Some(fence.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Fence {
    /// Whether the log must be compared before anything else is done on `connection`.
    fn is_due(&self, connection: u64) -> bool {
        match &self.latched {
            Some((_, at)) => self.connection != connection || at.elapsed() >= LATCH_CHECK_INTERVAL,
            None => self.connection != connection && self.last.is_some(),
        }
    }
}

impl EventLog {
    /// Returns the last sequence that was seen of the log of `partition`; 0 if none was.
    pub(crate) fn last_seen(&self, partition: PartitionId) -> Seq {
        let fence = self.fences().of(partition);
        fence.and_then(|fence| fence.last).map_or(0, |last| last.0)
    }

    /// Records that the log had a message, on `connection` or a later one.
    pub(crate) fn record_seen(
        &self,
        partition: PartitionId,
        (seq, identity): (Seq, MessageIdentity),
        connection: u64,
    ) {
        let Some(mut fence) = self.fences().of(partition) else {
            return;
        };
        if fence.last.is_none() {
            fence.connection = connection;
        }
        if fence.last.is_none_or(|(last, _)| last < seq) {
            fence.last = Some((seq, identity));
        }
    }

    /// Latches `partition`, whose log ends at `last` although `known` was seen, and returns the error.
    pub(crate) fn latch_regressed(&self, partition: PartitionId, last: Seq, known: Seq) -> Error {
        let divergence = Divergence::Regressed { last, known };
        self.set_latch(partition, Some(divergence));
        divergence.error(partition)
    }

    /// Says why `partition` is latched; `None` if it is not. Compares nothing.
    #[must_use]
    pub fn latched(&self, partition: PartitionId) -> Option<Error> {
        let (divergence, _) = self.fences().of(partition)?.latched?;
        Some(divergence.error(partition))
    }

    /// Compares the log with the last message that was seen of it, if the connection is a new one or
    /// the partition is latched.
    ///
    /// # Errors
    /// [`Error::Regressed`] and [`Error::Replaced`]: the partition is latched until a person has
    /// restored its log. [`Error::Unavailable`]: retry.
    pub async fn check_fence(&self, partition: PartitionId) -> Result<()> {
        let connection = self.connection();
        let (last, latched) = {
            let Some(mut fence) = self.fences().of(partition) else {
                return Ok(());
            };
            let latched = fence.latched.map(|(divergence, _)| divergence);
            if !fence.is_due(connection) {
                return latched.map_or(Ok(()), |divergence| Err(divergence.error(partition)));
            }
            let Some(last) = fence.last else {
                fence.connection = connection;
                return Ok(());
            };
            (last, latched)
        };
        let divergence = self.compare(partition, last).await?;
        if divergence.is_some() || latched.is_some() {
            self.set_latch(partition, divergence);
        }
        if let Some(mut fence) = self.fences().of(partition) {
            fence.connection = connection;
        }
        divergence.map_or(Ok(()), |divergence| Err(divergence.error(partition)))
    }

    fn set_latch(&self, partition: PartitionId, divergence: Option<Divergence>) {
        let Some(mut fence) = self.fences().of(partition) else {
            return;
        };
        let before = fence.latched.map(|(divergence, _)| divergence);
        fence.latched = divergence.map(|divergence| (divergence, Instant::now()));
        if before == divergence {
            return;
        }
        match divergence {
            Some(divergence) => {
                let error = divergence.error(partition);
                error!(%partition, error = &error as &dyn std::error::Error, "latched the partition");
            }
            None => info!(%partition, "the log is the known one again, released the partition"),
        }
    }

    /// Compares the log with the message that it had at `seq`.
    async fn compare(
        &self,
        partition: PartitionId,
        (seq, identity): (Seq, MessageIdentity),
    ) -> Result<Option<Divergence>> {
        let stream = self.stream(partition).await?;
        let state = &stream.cached_info().state;
        if state.last_sequence < seq {
            return Ok(Some(Divergence::Regressed {
                last: state.last_sequence,
                known: seq,
            }));
        }
        if seq < state.first_sequence {
            return Ok(None);
        }
        match stream.get_raw_message(seq).await {
            Ok(message) => {
                let found = MessageIdentity::of_message(Some(&message.headers), &message.payload);
                Ok((found != identity).then_some(Divergence::Replaced { seq }))
            }
            // Purged meanwhile.
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(Error::unavailable("compare a message", error)),
        }
    }
}
