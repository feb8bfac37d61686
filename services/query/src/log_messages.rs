//! The messages of a range of the event log, and those of it that the log has lost.

use std::time::Duration;

use event::{PartitionId, Seq, SeqRange};
use event_log::{Error, EventLog, LogMessage};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use crate::{rows::SourceError, sources::Sources};

/// Ranges of the log with more messages than this are streamed by a consumer; shorter ones are read
/// message by message.
const LONG_RANGE: u64 = 256;
/// A consumer that gives nothing for so long has no more, although the log counts more: the rest is read message
/// by message.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(2);

/// The next part of a range.
#[derive(Debug)]
pub(crate) enum LogItem {
    Message(LogMessage),
    /// Neither there nor purged: nobody can read it again.
    Missing(SeqRange),
}

impl LogItem {
    /// The last sequence.
    pub(crate) fn last(&self) -> Seq {
        match self {
            Self::Message(message) => message.seq,
            Self::Missing(range) => range.hi,
        }
    }
}

impl Sources {
    /// Streams every sequence of `range`, ascending.
    ///
    /// # Errors
    ///
    /// Of the call and of each item: [`SourceError::Stale`] when a message was purged meanwhile; what was read
    /// is then of no use.
    pub(crate) async fn log_messages(
        &self,
        partition: PartitionId,
        range: SeqRange,
    ) -> Result<BoxStream<'static, Result<LogItem, SourceError>>, SourceError> {
        let mut reader = RangeReader {
            log: self.log.clone(),
            partition,
            left: range,
            messages: stream::empty().boxed(),
            opened_at: range.lo,
            is_short: range.hi - range.lo < LONG_RANGE,
        };
        reader.open().await?;
        let items = stream::try_unfold(reader, async |mut reader| {
            let item = reader.next().await?;
            Ok(item.map(|item| (item, reader)))
        });
        Ok(items.boxed())
    }
}

struct RangeReader {
    log: EventLog,
    partition: PartitionId,
    /// What is left to read; empty when `lo` is behind `hi`.
    left: SeqRange,
    messages: BoxStream<'static, event_log::Result<LogMessage>>,
    /// Where `messages` began.
    opened_at: Seq,
    /// Whether it is read message by message.
    is_short: bool,
}

impl RangeReader {
    async fn open(&mut self) -> Result<(), SourceError> {
        self.opened_at = self.left.lo;
        self.messages = if self.is_short {
            let messages = self.log.read_range(self.partition, self.left).await;
            messages.map_err(log_error)?.boxed()
        } else {
            let messages = self.log.read_from(self.partition, self.left.lo).await;
            messages.map_err(log_error)?.boxed()
        };
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<LogItem>, SourceError> {
        while self.left.lo <= self.left.hi {
            let seq = self.left.lo;
            let Some(next) = self.next_message().await else {
                let had_none = self.opened_at == seq;
                if had_none && self.is_short {
                    return Err(SourceError::Stale);
                }
                // A consumer ends at a gap, or has no more.
                self.is_short |= had_none;
                self.open().await?;
                continue;
            };
            let item = match next {
                Ok(message) if message.seq == seq => LogItem::Message(message),
                Ok(_) => return Err(SourceError::Stale),
                Err(Error::Gap {
                    expected, found, ..
                }) if expected == seq => {
                    let hi = found.saturating_sub(1).clamp(seq, self.left.hi);
                    LogItem::Missing(SeqRange { lo: seq, hi })
                }
                Err(error) => return Err(log_error(error)),
            };
            self.left.lo = item.last() + 1;
            return Ok(Some(item));
        }
        Ok(None)
    }

    /// `None` when there is no more, also when a consumer says nothing.
    async fn next_message(&mut self) -> Option<event_log::Result<LogMessage>> {
        if self.is_short {
            return self.messages.next().await;
        }
        let next = tokio::time::timeout(CONSUMER_TIMEOUT, self.messages.next()).await;
        next.unwrap_or(None)
    }
}

fn log_error(error: Error) -> SourceError {
    match error {
        Error::Gap { .. } => SourceError::Stale,
        error => SourceError::Unavailable(error.into()),
    }
}
