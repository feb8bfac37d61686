//! Appending: one message, acknowledged or not, never guessed.

use std::{
    error::Error as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_nats::{
    HeaderMap,
    jetstream::{
        self, ErrorCode,
        context::{PublishError, PublishErrorKind},
        message::PublishMessage,
        publish::PublishAck,
    },
};
use bytes::Bytes;
use event::{PartitionCount, PartitionId, Seq};
use tokio::time::Instant;
use tracing::warn;

use crate::{
    error::{Error, Result},
    log::EventLog,
    names,
};

const TRIES: u32 = 3;
const LIMIT: Duration = Duration::from_secs(20);
/// Between a try that was answered "not now" and the next.
const PAUSE: Duration = Duration::from_millis(250);
/// "The same id is being stored right now."
const IN_PROCESS_PAUSE: Duration = Duration::from_millis(50);

/// What the log said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The sequence of the message, also when it was there already.
    pub seq: Seq,
    /// The log has had a message of this id within the last five minutes.
    pub duplicate: bool,
}

/// The highest sequence acknowledged per partition, to notice a log that went backwards.
#[derive(Debug)]
pub(crate) struct Acknowledged(Box<[AtomicU64]>);

impl Default for Acknowledged {
    fn default() -> Self {
        Self(
            (0..PartitionCount::MAX)
                .map(|_| AtomicU64::new(0))
                .collect(),
        )
    }
}

impl Acknowledged {
    fn of(&self, partition: PartitionId) -> Option<&AtomicU64> {
        self.0.get(usize::from(partition.partition))
    }
}

/// What to do after a try that failed.
enum Next {
    Again { after: Duration, stored: bool },
    GiveUp(Error),
}

impl EventLog {
    /// Appends one message and waits for the acknowledgement; tries three times within 20 s, with
    /// the same id, so that it is stored once. Callers may run many of these at the same time.
    ///
    /// # Errors
    /// [`Error::Unknown`] when any try may have been stored; [`Error::Unavailable`] when none was.
    pub async fn append(
        &self,
        partition: PartitionId,
        message_id: &str,
        payload: Bytes,
        headers: Vec<(String, String)>,
    ) -> Result<Appended> {
        let message = || message(partition, message_id, payload.clone(), &headers);
        let appended = self.append_message(partition, payload.len(), message);
        let appended = appended.await?;
        Ok(appended.expect("the log may end anywhere"))
    }

    /// Appends one message if the log of `partition` ends at `last`; `None` when it does not. Of
    /// several that say the same `last`, one is appended. `None` is also what a message gets that
    /// an earlier try, whose answer was lost, has appended: look for it behind `last`.
    ///
    /// # Errors
    /// As [`EventLog::append`].
    pub async fn append_behind(
        &self,
        partition: PartitionId,
        last: Seq,
        message_id: &str,
        payload: Bytes,
        headers: Vec<(String, String)>,
    ) -> Result<Option<Appended>> {
        let message = || {
            let message = message(partition, message_id, payload.clone(), &headers);
            message.expected_last_sequence(last)
        };
        self.append_message(partition, payload.len(), message).await
    }

    async fn append_message(
        &self,
        partition: PartitionId,
        bytes: usize,
        message: impl Fn() -> PublishMessage,
    ) -> Result<Option<Appended>> {
        let deadline = Instant::now() + LIMIT;
        let (mut attempt, mut may_be_stored) = (0, false);
        loop {
            attempt += 1;
            let error = match self.publish(partition, message()).await {
                Ok(outcome) => return outcome.map(Some),
                Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                    return Ok(None);
                }
                Err(error) => error,
            };
            let after = match decide(partition, bytes, &error) {
                Next::GiveUp(error) => return Err(error),
                Next::Again { after, stored } => {
                    may_be_stored |= stored;
                    after
                }
            };
            if attempt >= TRIES || Instant::now() + after >= deadline {
                return Err(match may_be_stored {
                    true => Error::Unknown {
                        partition,
                        source: error.into(),
                    },
                    false => Error::unavailable("append", error),
                });
            }
            warn!(
                error = &error as &dyn std::error::Error,
                attempt, "will append again"
            );
            tokio::time::sleep(after).await;
        }
    }

    async fn publish(
        &self,
        partition: PartitionId,
        message: PublishMessage,
    ) -> Result<Result<Appended>, PublishError> {
        let acknowledged = self.acknowledged().of(partition);
        let known = acknowledged.map_or(0, |seq| seq.load(Ordering::Acquire));
        let subject = names::subject(partition);
        let ack: PublishAck = self
            .jetstream()
            .send_publish(subject, message)
            .await?
            .await?;
        if !ack.duplicate && ack.sequence <= known {
            return Ok(Err(Error::Regressed {
                partition,
                last: ack.sequence,
                known,
            }));
        }
        if let Some(acknowledged) = acknowledged {
            acknowledged.fetch_max(ack.sequence, Ordering::AcqRel);
        }
        Ok(Ok(Appended {
            seq: ack.sequence,
            duplicate: ack.duplicate,
        }))
    }
}

fn message(
    partition: PartitionId,
    message_id: &str,
    payload: Bytes,
    headers: &[(String, String)],
) -> PublishMessage {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(name.as_str(), value.as_str());
    }
    PublishMessage::build()
        .headers(map)
        .payload(payload)
        .message_id(message_id)
        .expected_stream(names::stream(partition))
}

fn decide(partition: PartitionId, bytes: usize, error: &PublishError) -> Next {
    let unknown = |after| Next::Again {
        after,
        stored: true,
    };
    let not_stored = |after| Next::Again {
        after,
        stored: false,
    };
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => Next::GiveUp(Error::TooLarge(bytes)),
        // Nobody serves the subject: the server is starting, or a leader is being elected.
        PublishErrorKind::StreamNotFound => not_stored(PAUSE),
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => unknown(Duration::ZERO),
        _ => {
            let answer = error.source().and_then(|s| s.downcast_ref());
            let Some(answer): Option<&jetstream::Error> = answer else {
                return unknown(PAUSE);
            };
            match answer.error_code() {
                ErrorCode::STREAM_STORE_FAILED if answer.to_string().contains("maximum") => {
                    Next::GiveUp(Error::Full(partition))
                }
                ErrorCode::ACCOUNT_RESOURCES_EXCEEDED | ErrorCode::INSUFFICIENT_RESOURCES => {
                    Next::GiveUp(Error::Full(partition))
                }
                ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => Next::GiveUp(Error::TooLarge(bytes)),
                ErrorCode::STREAM_NOT_MATCH => Next::GiveUp(Error::Setup(format!(
                    "the subject of partition {partition} belongs to another stream"
                ))),
                ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT => unknown(IN_PROCESS_PAUSE),
                _ => unknown(PAUSE),
            }
        }
    }
}
