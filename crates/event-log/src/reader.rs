//! Readers that follow one partition without end: every sequence, in order, once.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    consumer::{
        DeliverPolicy,
        pull::{Ordered, OrderedConfig},
    },
};
use event::{PartitionId, Seq};
use futures::{Stream, StreamExt as _, stream};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::{
    error::{Error, Result},
    log::{EventLog, unless_lost},
    message::LogMessage,
    seen_log::MessageIdentity,
    streams::LogState,
};

/// The largest number of messages of one pull: no reason but to bound memory, where they wait.
const MAX_PULL_MESSAGES: i64 = 64;
/// After so long without a message, the reader checks whether it has missed one.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(5);
const MAX_REOPEN_PAUSE: Duration = Duration::from_secs(2);
/// The number of messages behind one with odd headers that are read alone too: odd ones come together, and each that
/// a consumer delivers costs the connection.
const READ_ALONE_BEHIND_ODD: u32 = 64;

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
            failures: 0,
            alone: 0,
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
    /// What a consumer delivers, and the losses of the connection since it was created.
    messages: Option<(Ordered, watch::Receiver<u64>)>,
    /// How often in a row no message came of reading.
    failures: u32,
    /// The number of messages that are read alone before a consumer is created again.
    alone: u32,
}

impl Reader {
    async fn next(&mut self) -> Result<LogMessage> {
        loop {
            let Some((messages, losses)) = &mut self.messages else {
                if let Some(message) = self.open().await? {
                    return Ok(message);
                }
                continue;
            };
            let delivered = tokio::time::timeout(IDLE_CHECK_INTERVAL, messages.next());
            match unless_lost(losses, delivered).await {
                Some(Ok(Some(Ok(message)))) => {
                    if let Some(message) = self.accept_delivered(&message).await? {
                        return Ok(message);
                    }
                }
                Some(Ok(Some(Err(error)))) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "read failed, will retry"
                    );
                    self.reopen().await;
                }
                None | Some(Ok(None)) => self.reopen().await,
                Some(Err(_idle)) => self.check_for_missed_message().await?,
            }
        }
    }

    /// Creates a consumer that begins at `next`, or waits before the next attempt. After a failure, the
    /// message at `next` is read alone first and returned: it may be the reason.
    async fn open(&mut self) -> Result<Option<LogMessage>> {
        if (self.failures > 0 || self.alone > 0)
            && let Ok(Some(raw)) = self.log.read_raw(self.partition, self.next).await
        {
            self.alone = match raw.is_odd {
                true => READ_ALONE_BEHIND_ODD,
                false => self.alone.saturating_sub(1),
            };
            return self.accept(raw.of(self.partition)).await;
        }
        let losses = self.log.losses();
        match self.log.consume(self.partition, self.next).await {
            Ok(messages) => self.messages = Some((messages, losses)),
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "read failed, will retry"
                );
                self.reopen().await;
            }
        }
        Ok(None)
    }

    /// Drops the consumer and waits, the longer the more failures in a row.
    async fn reopen(&mut self) {
        self.messages = None;
        self.failures = (self.failures + 1).min(10);
        let pause = Duration::from_millis(20) * 2_u32.pow(self.failures);
        tokio::time::sleep(pause.min(MAX_REOPEN_PAUSE)).await;
    }

    /// Advances to `message`; `None` if it is not the next one and reading starts again.
    async fn accept_delivered(
        &mut self,
        message: &jetstream::Message,
    ) -> Result<Option<LogMessage>> {
        let Some(message) = LogMessage::delivered(self.partition, message) else {
            return Ok(None);
        };
        let seq = message.seq;
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
        self.accept(message).await
    }

    /// Advances to `message`, the next one; `None` if the log cannot be compared now and reading starts again.
    async fn accept(&mut self, message: LogMessage) -> Result<Option<LogMessage>> {
        let connection = self.log.connection();
        match self.log.check_identity(self.partition).await {
            Ok(()) => {}
            Err(error) if error.is_transient() => {
                self.reopen().await;
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        let seen = (message.seq, MessageIdentity::of_message(&message));
        self.log.record_seen(self.partition, seen, connection);
        self.next = message.seq + 1;
        self.failures = 0;
        Ok(Some(message))
    }

    /// Returns true if everything before `seq` was purged, so that it may be skipped. If the client skipped
    /// a message, or the log cannot be asked, returns false, nothing is skipped and reading starts again.
    async fn was_purged(&mut self, seq: Seq) -> Result<bool> {
        let (partition, expected) = (self.partition, self.next);
        match self.log.state(partition).await {
            Ok(state) if seq <= state.first => return Ok(true),
            Ok(_) => {
                if let Ok(None) = self.log.read_alone(partition, expected).await {
                    return Err(Error::Gap {
                        partition,
                        expected,
                        found: seq,
                    });
                }
            }
            Err(_) => {}
        }
        self.reopen().await;
        Ok(false)
    }

    /// Reads again if no message was delivered although the log has one.
    async fn check_for_missed_message(&mut self) -> Result<()> {
        match self.log.check_identity(self.partition).await {
            Err(error) if !error.is_transient() => return Err(error),
            _ => {}
        }
        let Ok(state) = self.log.state(self.partition).await else {
            return Ok(());
        };
        self.check(state)?;
        if state.last >= self.next && state.messages > 0 {
            warn!(partition = %self.partition, next = self.next, "reader is stuck, reading again");
            self.reopen().await;
        }
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
