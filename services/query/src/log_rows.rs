//! Rows that are read from the event log itself.

use event::{ConversationId, Position, RangeSet, Seq, SeqRange, StoredEvent, TenantId};
use event_proto::Frame;
use futures::TryStreamExt as _;

use crate::{
    log_messages::LogItem,
    memory::row_bytes,
    merge::{ReadOrder, merge},
    read_limit::ReadLimit,
    rows::{ReadRequest, SourceError},
    sources::Sources,
};

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
        while let Some(item) = messages.try_next().await? {
            let known = read.rows.len();
            read.add(item, only);
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

/// Rows that were read from the log itself.
#[derive(Debug, Default)]
pub(crate) struct LogRows {
    pub(crate) rows: Vec<StoredEvent>,
    /// The sequences of frames that cannot be read, whole or in part, or are not there.
    pub(crate) unreadable: RangeSet,
    /// The bytes of the limit ended the read.
    pub(crate) is_cut: bool,
}

impl LogRows {
    /// Adds the events of one message: those of one conversation, or all. What cannot be read, or is not there,
    /// is passed over and named.
    pub(crate) fn add(&mut self, item: LogItem, only: Option<(&TenantId, &ConversationId)>) {
        let message = match item {
            LogItem::Message(message) => message,
            LogItem::Missing(range) => {
                self.unreadable.insert(range);
                return;
            }
        };
        let seq = message.seq;
        let unreadable = SeqRange { lo: seq, hi: seq };
        let Ok(frame) = Frame::decode(message.payload) else {
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
