//! Appending: a message is acknowledged, refused, or its outcome is reported as unknown.

use std::{error::Error as _, time::Duration};

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
use event::{PartitionId, Seq};
use tokio::time::Instant;
use tracing::warn;

use crate::{
    error::{Error, Result},
    log::{ACK_TIMEOUT, EventLog},
    names,
    seen_log::MessageIdentity,
};

/// The interval between two looks for a connection: no reason but a quick start.
const CONNECTION_POLL_INTERVAL: Duration = Duration::from_millis(10);
const MAX_APPEND_ATTEMPTS: u32 = 3;
/// No new attempt begins later than this after the first.
const APPEND_TIMEOUT: Duration = Duration::from_secs(20);
/// The pause before the next attempt when the log cannot store a message now.
const APPEND_RETRY_PAUSE: Duration = Duration::from_millis(250);
/// The pause before the next attempt when the log is still storing a message of the same id.
const DUPLICATE_CONFLICT_PAUSE: Duration = Duration::from_millis(50);

/// The log's acknowledgement of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The sequence of the message; for a duplicate, that of the message stored before.
    pub seq: Seq,
    /// True if the log has stored a message of this id within the last five minutes, before this append.
    pub duplicate: bool,
    /// True if the log dropped the message because it has one of this id, of this append or not. Whoever can
    /// publish may have taken the id.
    pub id_known: bool,
}

impl Appended {
    /// The acknowledgement for the caller, when an own attempt may have stored the message behind the sequence
    /// `own`: the log calls the message of that attempt a duplicate too.
    fn not_of(self, own: Option<Seq>) -> Self {
        Self {
            duplicate: self.duplicate && own.is_none_or(|seen| self.seq <= seen),
            ..self
        }
    }
}

/// The outcome of an append behind a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    Appended(Appended),
    /// The log ends elsewhere.
    EndsElsewhere {
        /// The acknowledgement of an earlier attempt was lost, so the message may be the one behind the
        /// sequence. It is not stored later.
        may_be_stored: bool,
    },
}

/// The decision after a failed attempt.
enum RetryDecision {
    /// `stored`: the failed attempt may have stored the message nevertheless.
    Retry {
        after: Duration,
        stored: bool,
    },
    Fail(Error),
}

impl EventLog {
    /// Appends one message and waits for the acknowledgement. Attempts it up to three times within
    /// 20 s, with the same id, so that it is stored once. Many appends may run concurrently.
    ///
    /// # Errors
    /// [`Error::Unknown`] if an attempt may have stored the message: retry with the same id.
    /// [`Error::Unavailable`] if none did, [`Error::Full`] if the log has no space: retry later.
    /// [`Error::TooLarge`], [`Error::Setup`]: permanent. [`Error::Regressed`], [`Error::Replaced`]: the
    /// partition is latched.
    pub async fn append(
        &self,
        partition: PartitionId,
        message_id: &str,
        payload: Bytes,
        headers: Vec<(String, String)>,
    ) -> Result<Appended> {
        let message = || message(partition, message_id, payload.clone(), &headers);
        let sent = (message_id, payload.len());
        let appended = self.append_message(partition, sent, message);
        match appended.await? {
            AppendOutcome::Appended(appended) => Ok(appended),
            AppendOutcome::EndsElsewhere { .. } => {
                unreachable!("without an expected last sequence the log does not refuse one")
            }
        }
    }

    /// Appends one message if the log of `partition` ends at `last`. Of concurrent appends with the same
    /// `last`, one succeeds.
    ///
    /// # Errors
    /// The same as [`EventLog::append`].
    pub async fn append_behind(
        &self,
        partition: PartitionId,
        last: Seq,
        message_id: &str,
        payload: Bytes,
        headers: Vec<(String, String)>,
    ) -> Result<AppendOutcome> {
        let message = || {
            let message = message(partition, message_id, payload.clone(), &headers);
            message.expected_last_sequence(last)
        };
        self.append_message(partition, (message_id, payload.len()), message)
            .await
    }

    async fn append_message(
        &self,
        partition: PartitionId,
        (message_id, bytes): (&str, usize),
        message: impl Fn() -> PublishMessage,
    ) -> Result<AppendOutcome> {
        let deadline = Instant::now() + APPEND_TIMEOUT;
        let seen_before = self.last_seen(partition);
        let (mut attempt, mut may_be_stored) = (0, false);
        loop {
            attempt += 1;
            if let Err(error) = self.await_identity(partition).await {
                return Err(match may_be_stored {
                    true => unknown(partition, error),
                    false => error,
                });
            }
            let error = match self.publish(partition, message_id, message()).await {
                Ok(outcome) => {
                    let own = may_be_stored.then_some(seen_before);
                    return outcome.map(|appended| AppendOutcome::Appended(appended.not_of(own)));
                }
                Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                    return Ok(AppendOutcome::EndsElsewhere { may_be_stored });
                }
                Err(error) => error,
            };
            let after = match retry_decision(partition, bytes, &error) {
                RetryDecision::Fail(error) => return Err(error),
                RetryDecision::Retry { after, stored } => {
                    may_be_stored |= stored;
                    after
                }
            };
            if attempt >= MAX_APPEND_ATTEMPTS || Instant::now() + after >= deadline {
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
                attempt, "append failed, will retry"
            );
            tokio::time::sleep(after).await;
        }
    }

    /// Waits for a connection, and compares the log if that is due. What is sent without a connection
    /// would be appended at the next one, whatever log that leads to. Tries it again for a moment: a log
    /// that has just started does not answer yet.
    async fn await_identity(&self, partition: PartitionId) -> Result<()> {
        let deadline = Instant::now() + ACK_TIMEOUT;
        while !self.is_connected() {
            if Instant::now() >= deadline {
                return Err(Error::unavailable("append", "there is no connection"));
            }
            tokio::time::sleep(CONNECTION_POLL_INTERVAL).await;
        }
        let mut checked = self.check_identity(partition).await;
        for _ in 1..MAX_APPEND_ATTEMPTS {
            if !matches!(&checked, Err(error) if error.is_transient()) {
                break;
            }
            tokio::time::sleep(APPEND_RETRY_PAUSE).await;
            checked = self.check_identity(partition).await;
        }
        checked
    }

    async fn publish(
        &self,
        partition: PartitionId,
        message_id: &str,
        message: PublishMessage,
    ) -> Result<Result<Appended>, PublishError> {
        let (known, connection) = (self.last_seen(partition), self.connection());
        let subject = names::subject(partition);
        let ack: PublishAck = self
            .jetstream()
            .send_publish(subject, message)
            .await?
            .await?;
        if !ack.duplicate && ack.sequence <= known {
            return Ok(Err(self.latch_regressed(partition, ack.sequence, known)));
        }
        // The client sends again what it could not send before it reconnected.
        if connection != self.connection()
            && let Err(error) = self.check_identity(partition).await
        {
            return Ok(Err(unknown(partition, error)));
        }
        let seen = (ack.sequence, MessageIdentity::of_id(message_id));
        self.record_seen(partition, seen, connection);
        Ok(Ok(Appended {
            seq: ack.sequence,
            duplicate: ack.duplicate,
            id_known: ack.duplicate,
        }))
    }
}

/// The error of an append that may be stored, in a log that cannot be compared because of `error`.
fn unknown(partition: PartitionId, error: Error) -> Error {
    match error.is_transient() {
        true => Error::Unknown {
            partition,
            source: error.into(),
        },
        false => error,
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

fn retry_decision(partition: PartitionId, bytes: usize, error: &PublishError) -> RetryDecision {
    let unknown = |after| RetryDecision::Retry {
        after,
        stored: true,
    };
    let not_stored = |after| RetryDecision::Retry {
        after,
        stored: false,
    };
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => RetryDecision::Fail(Error::TooLarge(bytes)),
        // No stream has the subject now: the server is starting, or a leader is being elected.
        PublishErrorKind::StreamNotFound => not_stored(APPEND_RETRY_PAUSE),
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => unknown(Duration::ZERO),
        _ => {
            let answer = error.source().and_then(|s| s.downcast_ref());
            let Some(answer): Option<&jetstream::Error> = answer else {
                return unknown(APPEND_RETRY_PAUSE);
            };
            match answer.error_code() {
                ErrorCode::STREAM_STORE_FAILED if answer.to_string().contains("maximum") => {
                    RetryDecision::Fail(Error::Full(partition))
                }
                ErrorCode::ACCOUNT_RESOURCES_EXCEEDED | ErrorCode::INSUFFICIENT_RESOURCES => {
                    RetryDecision::Fail(Error::Full(partition))
                }
                ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => {
                    RetryDecision::Fail(Error::TooLarge(bytes))
                }
                ErrorCode::STREAM_NOT_MATCH => RetryDecision::Fail(Error::Setup(format!(
                    "the subject of partition {partition} belongs to another stream"
                ))),
                ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT => unknown(DUPLICATE_CONFLICT_PAUSE),
                _ => unknown(APPEND_RETRY_PAUSE),
            }
        }
    }
}
