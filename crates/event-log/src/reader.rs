//! Following one partition for ever: every sequence, in order, once.

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
    streams::LogState,
};

/// Messages asked for at once: they lie in memory until they are taken.
const BATCH: i64 = 64;
/// Without a message for so long, the reader looks whether it misses one.
const IDLE: Duration = Duration::from_secs(5);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// One message of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMessage {
    pub partition: PartitionId,
    pub seq: Seq,
    /// When the log took it, by the log's clock.
    pub received_at: Timestamp,
    pub payload: Bytes,
    pub headers: Vec<(String, String)>,
}

impl EventLog {
    /// Follows `partition` from `seq` for ever, over restarts of the log. When the head was purged,
    /// the first message has the first sequence that is still there.
    ///
    /// The stream ends after an error, and it has no transient ones.
    ///
    /// # Errors
    /// [`Error::Regressed`] when the log ends before `seq - 1`.
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
            behind: false,
            failures: 0,
        };
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

struct Reader {
    log: EventLog,
    partition: PartitionId,
    next: Seq,
    messages: Option<Ordered>,
    /// The last look found a message that had not come.
    behind: bool,
    failures: u32,
}

impl Reader {
    async fn next(&mut self) -> Result<LogMessage> {
        loop {
            let Some(messages) = &mut self.messages else {
                self.open().await;
                continue;
            };
            match tokio::time::timeout(IDLE, messages.next()).await {
                Ok(Some(Ok(message))) => {
                    if let Some(message) = self.accept(&message).await? {
                        return Ok(message);
                    }
                }
                Ok(Some(Err(error))) => {
                    warn!(error = &error as &dyn std::error::Error, "will read again");
                    self.reopen().await;
                }
                Ok(None) => self.reopen().await,
                Err(_idle) => self.look().await?,
            }
        }
    }

    async fn open(&mut self) {
        match self.log.consume(self.partition, self.next).await {
            Ok(messages) => self.messages = Some(messages),
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "will read again");
                self.reopen().await;
            }
        }
    }

    async fn reopen(&mut self) {
        self.messages = None;
        self.failures = (self.failures + 1).min(10);
        let pause = Duration::from_millis(20) * 2_u32.pow(self.failures);
        tokio::time::sleep(pause.min(MAX_PAUSE)).await;
    }

    async fn accept(&mut self, message: &jetstream::Message) -> Result<Option<LogMessage>> {
        let Some((seq, received_at)) = place(message) else {
            return Ok(None);
        };
        if seq < self.next {
            // A consumer made anew before its first message begins at the first one.
            debug!(seq, next = self.next, "reader went back");
            self.reopen().await;
            return Ok(None);
        }
        if seq > self.next && !self.was_purged(seq).await? {
            return Ok(None);
        }
        self.next = seq + 1;
        (self.behind, self.failures) = (false, 0);
        Ok(Some(LogMessage {
            partition: self.partition,
            seq,
            received_at,
            payload: message.payload.clone(),
            headers: message.headers.as_ref().map(headers).unwrap_or_default(),
        }))
    }

    /// Whether everything before `seq` is gone by a purge, so that it may be passed over. While
    /// the log cannot say, nothing is passed over.
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

    /// Nothing came for a while: is there really nothing?
    async fn look(&mut self) -> Result<()> {
        let Ok(state) = self.log.state(self.partition).await else {
            return Ok(());
        };
        self.check(state)?;
        let missing = state.last >= self.next && state.messages > 0;
        if missing && self.behind {
            warn!(partition = %self.partition, next = self.next, "reader is stuck, reading again");
            self.reopen().await;
        }
        self.behind = missing;
        Ok(())
    }

    fn check(&self, state: LogState) -> Result<()> {
        if state.last + 1 < self.next {
            return Err(Error::Regressed {
                partition: self.partition,
                last: state.last,
                known: self.next - 1,
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
            max_batch: BATCH,
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await;
        let consumer = consumer.map_err(|error| Error::unavailable("make a consumer", error))?;
        let messages = consumer.messages().await;
        messages.map_err(|error| Error::unavailable("read a consumer", error))
    }
}

fn place(message: &jetstream::Message) -> Option<(Seq, Timestamp)> {
    match message.info() {
        Ok(info) => Some((info.stream_sequence, timestamp(info.published))),
        Err(error) => {
            warn!(
                error = &*error as &dyn std::error::Error,
                "a message without its place"
            );
            None
        }
    }
}

pub(crate) fn timestamp(time: async_nats::datetime::DateTime) -> Timestamp {
    let micros = time.unix_timestamp_nanos() / 1000;
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// The headers that the appender gave, without the log's own.
pub(crate) fn headers(map: &async_nats::HeaderMap) -> Vec<(String, String)> {
    let given = map
        .iter()
        .filter(|(name, _)| !name.to_string().starts_with("Nats-"));
    let each = given.flat_map(|(name, values)| {
        let pair = move |value: &async_nats::HeaderValue| (name.to_string(), value.to_string());
        values.iter().map(pair)
    });
    each.collect()
}
