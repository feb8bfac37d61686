//! Rows that are read from the event log itself.

use event::{
    ConversationId, PartitionId, Position, RangeSet, Seq, SeqRange, StoredEvent, TenantId,
};
use event_log::LogMessage;
use event_proto::Frame;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};

use crate::{
    memory::row_bytes,
    merge::{ReadOrder, merge},
    read_limit::ReadLimit,
    rows::{ReadRequest, SourceError},
    sources::Sources,
};

/// Ranges of the log with more messages than this are streamed by a consumer; shorter ones are read
/// message by message.
const LONG_RANGE: u64 = 256;

impl Sources {
    /// Reads the rows of `range` in the log, the first up to the bytes of `limit`.
    ///
    /// # Errors
    ///
    /// [`SourceError::Stale`] when a part of `range` was purged meanwhile.
    pub(crate) async fn log_rows(
        &self,
        request: &ReadRequest,
        range: SeqRange,
        limit: ReadLimit,
    ) -> Result<LogRows, SourceError> {
        let mut read = LogRows::default();
        let only = Some((&request.tenant, &request.conversation));
        let mut messages = self.log_messages(request.partition, range).await?;
        let mut bytes = 0;
        while let Some(message) = messages.try_next().await? {
            let known = read.rows.len();
            read.add(&message, only);
            let mut own = read.rows.split_off(known);
            own.retain(|row| request.includes(row));
            bytes += own.iter().map(row_bytes).sum::<usize>();
            read.rows.extend(own);
            if bytes < limit.bytes {
                continue;
            }
            read.is_cut = true;
            if request.order == ReadOrder::Asc {
                break;
            }
            bytes -= drop_first(&mut read.rows, bytes - limit.bytes);
        }
        read.rows = merge(read.rows, Seq::MAX, request.order);
        Ok(read)
    }

    /// Streams every message of `range`, ascending and without a gap.
    ///
    /// # Errors
    ///
    /// Of the call and of each item: [`SourceError::Stale`] when a message is no longer there; what was read
    /// is then of no use.
    pub(crate) async fn log_messages(
        &self,
        partition: PartitionId,
        range: SeqRange,
    ) -> Result<BoxStream<'static, Result<LogMessage, SourceError>>, SourceError> {
        if range.hi - range.lo >= LONG_RANGE {
            let messages = self.log.read_from(partition, range.lo).await;
            return Ok(contiguous(messages.map_err(log_error)?, range).boxed());
        }
        let messages = self.log.read_range(partition, range).await;
        Ok(contiguous(messages.map_err(log_error)?, range).boxed())
    }
}

/// Drops the first of `rows`, of at most `bytes` together. Returns the bytes that were dropped.
fn drop_first(rows: &mut Vec<StoredEvent>, bytes: usize) -> usize {
    let (mut count, mut dropped) = (0, 0);
    while let Some(row) = rows.get(count)
        && dropped + row_bytes(row) <= bytes
    {
        dropped += row_bytes(row);
        count += 1;
    }
    rows.drain(..count);
    dropped
}

/// Streams the messages of `range` and ends behind it, or with an error when one is not there.
fn contiguous(
    messages: impl Stream<Item = event_log::Result<LogMessage>> + Send + Unpin,
    range: SeqRange,
) -> impl Stream<Item = Result<LogMessage, SourceError>> + Send {
    let read = move |(mut messages, next)| async move {
        if next > range.hi {
            return Ok(None);
        }
        let message = next_message(&mut messages).await?;
        if message.seq != next {
            return Err(SourceError::Stale);
        }
        Ok(Some((message, (messages, next + 1))))
    };
    stream::try_unfold((messages, range.lo), read)
}

async fn next_message(
    messages: &mut (impl Stream<Item = event_log::Result<LogMessage>> + Unpin),
) -> Result<LogMessage, SourceError> {
    let message = messages.next().await.ok_or(SourceError::Stale)?;
    message.map_err(log_error)
}

/// Rows that were read from the log itself.
#[derive(Debug, Default)]
pub(crate) struct LogRows {
    pub(crate) rows: Vec<StoredEvent>,
    /// The sequences of frames that cannot be read, whole or in part.
    pub(crate) unreadable: RangeSet,
    /// The bytes of the limit ended the read.
    pub(crate) is_cut: bool,
}

impl LogRows {
    /// Adds the events of one message: those of one conversation, or all. What cannot be read is
    /// passed over and named, as the other consumers of the log do.
    pub(crate) fn add(&mut self, message: &LogMessage, only: Option<(&TenantId, &ConversationId)>) {
        let seq = message.seq;
        let unreadable = SeqRange { lo: seq, hi: seq };
        let Ok(frame) = Frame::decode(message.payload.clone()) else {
            self.unreadable.insert(unreadable);
            return;
        };
        let is_wanted = |index: usize| {
            only.is_none_or(|(tenant, conversation)| {
                frame.tenant == *tenant && frame.conversations[index] == *conversation
            })
        };
        for (idx, framed) in (0..).zip(&frame.events) {
            if !is_wanted(framed.conversation) {
                continue;
            }
            let Ok(event) = frame.event(framed) else {
                self.unreadable.insert(unreadable);
                continue;
            };
            self.rows.push(StoredEvent {
                event,
                position: Position::new(message.partition, seq, idx),
                received_at: message.received_at,
                crc32c: framed.encoded.crc32c,
                sample_rate: 1.0,
            });
        }
    }
}

fn log_error(error: event_log::Error) -> SourceError {
    match error {
        event_log::Error::Gap { .. } => SourceError::Stale,
        error => SourceError::Unavailable(error.into()),
    }
}
