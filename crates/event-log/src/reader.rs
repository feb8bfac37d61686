//! Readers that follow one partition without end: every sequence, in order, once.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    consumer::{
        DeliverPolicy,
        pull::{Ordered, OrderedConfig},
    },
};
use bytes::Bytes;
use event::{PartitionId, Seq, Timestamp};
use futures::{Stream, StreamExt as _, stream};
use tracing::{debug, warn};

use crate::{
    error::{Error, Result},
    log::EventLog,
    seen_log::MessageIdentity,
    streams::LogState,
};

/// The largest number of messages of one pull: no reason but to bound memory, where they wait.
const MAX_PULL_MESSAGES: i64 = 64;
/// After so long without a message, the reader checks whether it has missed one.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(5);
const MAX_REOPEN_PAUSE: Duration = Duration::from_secs(2);

/// One message of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMessage {
    pub partition: PartitionId,
    pub seq: Seq,
    /// When the log stored it, by the log's clock.
    pub received_at: Timestamp,
    /// The id that its appender gave it; empty for a message without one.
    pub message_id: String,
    pub payload: Bytes,
    pub headers: Vec<(String, String)>,
}

impl EventLog {
    /// Follows `partition` from `seq` on without end, also over restarts of the log. If the head was
    /// purged, the first message is the first that is left.
    ///
    /// The stream retries transient errors itself. It yields permanent ones ([`Error::Gap`],
    /// [`Error::Regressed`], [`Error::Replaced`]) and then ends.
    ///
    /// # Errors
    /// [`Error::Regressed`] if the log ends before `seq - 1`, [`Error::Replaced`] if it is another one:
    /// permanent. [`Error::Unavailable`]: retry.
    pub async fn read_from(
        &self,
        partition: PartitionId,
        seq: Seq,
    ) -> Result<impl Stream<Item = Result<LogMessage>> + Send + Unpin + use<>> {
        let reader = Reader {
            log: self.clone(),
            partition,
            next: seq.max(1),
            messages: None,
            was_behind: false,
            failures: 0,
        };
        self.check_identity(partition).await?;
        let state = self.state(partition).await?;
        reader.check(state)?;
        let follow = async |mut reader: Reader| {
            let item = reader.next().await;
            let rest = item.is_ok().then_some(reader);
            (item, rest)
        };
        Ok(Box::pin(stream::unfold(Some(reader), move |reader| {
            let step = reader.map(follow);
            async move { Some(step?.await) }
        })))
    }
}

/// The state of one follower.
struct Reader {
    log: EventLog,
    partition: PartitionId,
    next: Seq,
    messages: Option<Ordered>,
    /// The last check found a message in the log that had not been delivered.
    was_behind: bool,
    failures: u32,
}

impl Reader {
    async fn next(&mut self) -> Result<LogMessage> {
        loop {
            let Some(messages) = &mut self.messages else {
                self.open().await;
                continue;
            };
            match tokio::time::timeout(IDLE_CHECK_INTERVAL, messages.next()).await {
                Ok(Some(Ok(message))) => {
                    if let Some(message) = self.accept(&message).await? {
                        return Ok(message);
                    }
                }
                Ok(Some(Err(error))) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "read failed, will retry"
                    );
                    self.reopen().await;
                }
                Ok(None) => self.reopen().await,
                Err(_idle) => self.check_for_missed_message().await?,
            }
        }
    }

    /// Creates a consumer that begins at `next`, or waits before the next attempt.
    async fn open(&mut self) {
        match self.log.consume(self.partition, self.next).await {
            Ok(messages) => self.messages = Some(messages),
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "read failed, will retry"
                );
                self.reopen().await;
            }
        }
    }

    /// Drops the consumer and waits, the longer the more failures in a row.
    async fn reopen(&mut self) {
        self.messages = None;
        self.failures = (self.failures + 1).min(10);
        let pause = Duration::from_millis(20) * 2_u32.pow(self.failures);
        tokio::time::sleep(pause.min(MAX_REOPEN_PAUSE)).await;
    }

    /// Advances to `message`; `None` if it is not the next one and reading starts again.
    async fn accept(&mut self, message: &jetstream::Message) -> Result<Option<LogMessage>> {
        let Some((seq, received_at)) = seq_and_time(message) else {
            return Ok(None);
        };
        if seq < self.next {
            // The client recreates an ordered consumer that had no message yet at the first message of the
            // stream.
            debug!(seq, next = self.next, "consumer went back, reading again");
            self.reopen().await;
            return Ok(None);
        }
        if seq > self.next && !self.was_purged(seq).await? {
            return Ok(None);
        }
        let connection = self.log.connection();
        match self.log.check_identity(self.partition).await {
            Ok(()) => {}
            Err(error) if error.is_transient() => {
                self.reopen().await;
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        let identity = MessageIdentity::of_message(message.headers.as_ref(), &message.payload);
        self.log
            .record_seen(self.partition, (seq, identity), connection);
        self.next = seq + 1;
        (self.was_behind, self.failures) = (false, 0);
        Ok(Some(LogMessage {
            partition: self.partition,
            seq,
            received_at,
            message_id: message.headers.as_ref().map(message_id).unwrap_or_default(),
            payload: message.payload.clone(),
            headers: message.headers.as_ref().map(headers).unwrap_or_default(),
        }))
    }

    /// Returns true if everything before `seq` was purged, so that it may be skipped. While the log
    /// cannot be asked, returns false and nothing is skipped.
    async fn was_purged(&mut self, seq: Seq) -> Result<bool> {
        match self.log.state(self.partition).await {
            Ok(state) if seq <= state.first => Ok(true),
            Ok(_) => Err(Error::Gap {
                partition: self.partition,
                expected: self.next,
                found: seq,
            }),
            Err(_) => {
                self.reopen().await;
                Ok(false)
            }
        }
    }

    /// Reads again if, twice in a row, no message was delivered although the log has one.
    async fn check_for_missed_message(&mut self) -> Result<()> {
        match self.log.check_identity(self.partition).await {
            Err(error) if !error.is_transient() => return Err(error),
            _ => {}
        }
        let Ok(state) = self.log.state(self.partition).await else {
            return Ok(());
        };
        self.check(state)?;
        let missing = state.last >= self.next && state.messages > 0;
        if missing && self.was_behind {
            warn!(partition = %self.partition, next = self.next, "reader is stuck, reading again");
            self.reopen().await;
        }
        self.was_behind = missing;
        Ok(())
    }

    /// Fails if the log ends before what was read.
    fn check(&self, state: LogState) -> Result<()> {
        if state.last + 1 < self.next {
            let known = self.next - 1;
            if self.log.last_seen(self.partition) > state.last {
                return Err(self.log.latch_regressed(self.partition, state.last, known));
            }
            return Err(Error::Regressed {
                partition: self.partition,
                last: state.last,
                known,
            });
        }
        Ok(())
    }
}

impl EventLog {
    async fn consume(&self, partition: PartitionId, seq: Seq) -> Result<Ordered> {
        let stream = self.stream(partition).await?;
        let config = OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: seq,
            },
            max_batch: MAX_PULL_MESSAGES,
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await;
        let consumer = consumer.map_err(|error| Error::unavailable("make a consumer", error))?;
        let messages = consumer.messages().await;
        messages.map_err(|error| Error::unavailable("read a consumer", error))
    }
}

fn seq_and_time(message: &jetstream::Message) -> Option<(Seq, Timestamp)> {
    match message.info() {
        Ok(info) => Some((info.stream_sequence, timestamp(info.published))),
        Err(error) => {
            warn!(
                error = &*error as &dyn std::error::Error,
                "message without sequence skipped"
            );
            None
        }
    }
}

pub(crate) fn timestamp(time: async_nats::datetime::DateTime) -> Timestamp {
    let micros = time.unix_timestamp_nanos() / 1000;
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

pub(crate) fn message_id(map: &async_nats::HeaderMap) -> String {
    let id = map.get(async_nats::header::NATS_MESSAGE_ID);
    id.map(ToString::to_string).unwrap_or_default()
}

/// The headers that the appender set, without those of NATS.
pub(crate) fn headers(map: &async_nats::HeaderMap) -> Vec<(String, String)> {
    let own = map
        .iter()
        .filter(|(name, _)| !name.to_string().starts_with("Nats-"));
    let pairs = own.flat_map(|(name, values)| {
        let pair = move |value: &async_nats::HeaderValue| (name.to_string(), value.to_string());
        values.iter().map(pair)
    });
    pairs.collect()
}
