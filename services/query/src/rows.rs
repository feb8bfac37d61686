//! Rows of one conversation from one source: a range of positions → events in the answer's order.

use anyhow::Context as _;
use cold_tier::{ColdScan, ColdSnapshot};
use event::{ConversationId, PartitionId, Position, Seq, SeqRange, StoredEvent, TenantId};
use event_log::LogMessage;
use event_proto::Frame;
use futures::{Stream, StreamExt as _};
use warm_tier::remote::{Filter, Scan, Table};

use crate::{
    merge::{Order, merge},
    params::Types,
    sources::Sources,
};

/// Ranges longer than this are read by a consumer, which streams; shorter ones message by message.
const LONG_RANGE: u64 = 256;

/// Which rows of a conversation.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) tenant: TenantId,
    pub(crate) conversation: ConversationId,
    pub(crate) partition: PartitionId,
    /// Exclusive.
    pub(crate) after: Option<(Seq, u16)>,
    /// Exclusive.
    pub(crate) before: Option<(Seq, u16)>,
    pub(crate) order: Order,
    pub(crate) types: Types,
}

impl Wanted {
    fn takes(&self, row: &StoredEvent) -> bool {
        let place = row.position.offset();
        self.after.is_none_or(|after| place > after)
            && self.before.is_none_or(|before| place < before)
            && row.event.conversation_id == self.conversation
            && row.event.tenant == self.tenant
    }
}

/// Why a source gave nothing.
#[derive(Debug)]
pub(crate) enum Failed {
    /// What was known of it is no longer so: plan again.
    Stale,
    /// It does not answer now.
    Down(anyhow::Error),
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self::Down(error)
    }
}

impl Sources {
    /// Up to `limit` rows from the warm tier, which was planned with `removals`.
    pub(crate) async fn warm_rows(
        &self,
        wanted: &Wanted,
        range: SeqRange,
        removals: Option<u64>,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, Failed> {
        let filter = Filter {
            tenant: Some(wanted.tenant.to_string()),
            conversation_id: Some(wanted.conversation.to_string()),
            types: wanted.types.exact().unwrap_or_default().to_vec(),
            after: wanted.after,
            before: wanted.before,
            ..Filter::default()
        };
        let scan = Scan {
            filter,
            removals,
            order: match wanted.order {
                Order::Asc => warm_tier::remote::Order::Asc,
                Order::Desc => warm_tier::remote::Order::Desc,
            },
            limit: Some(u64::try_from(limit).unwrap_or(u64::MAX)),
            ..Scan::new(Table::Events, wanted.partition, vec![range])
        };
        let batches = self.warm.client.collect(&scan).await.map_err(warm_failed)?;
        decode(&batches)
    }

    pub(crate) async fn cold_rows(
        &self,
        wanted: &Wanted,
        range: SeqRange,
        snapshot: &ColdSnapshot,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, Failed> {
        let scan = ColdScan {
            partition: Some(wanted.partition),
            ranges: Some(range.into()),
            tenant: Some(wanted.tenant.clone()),
            conversation: Some(wanted.conversation.clone()),
            types: wanted.types.exact().unwrap_or_default().to_vec(),
            after: wanted.after,
            before: wanted.before,
            order: Some(match wanted.order {
                Order::Asc => cold_tier::Order::Asc,
                Order::Desc => cold_tier::Order::Desc,
            }),
            limit: Some(limit),
            ..ColdScan::default()
        };
        let batches = self
            .cold
            .read(snapshot, cold_tier::Table::Events, &scan)
            .await?;
        decode(&batches)
    }

    /// Every row of `range` in the log; a range that was purged meanwhile is stale.
    pub(crate) async fn log_rows(
        &self,
        wanted: &Wanted,
        range: SeqRange,
    ) -> Result<Vec<StoredEvent>, Failed> {
        let mut rows = Vec::new();
        let take = |message: LogMessage| {
            let found = frame_rows(&message, Some((&wanted.tenant, &wanted.conversation)))?;
            rows.extend(found.into_iter().filter(|row| wanted.takes(row)));
            Ok(())
        };
        self.log_messages(wanted.partition, range, take).await?;
        Ok(merge(rows, Seq::MAX, wanted.order))
    }

    /// Hands over every message of `range`, in order and without a gap.
    pub(crate) async fn log_messages(
        &self,
        partition: PartitionId,
        range: SeqRange,
        mut take: impl FnMut(LogMessage) -> anyhow::Result<()>,
    ) -> Result<(), Failed> {
        if range.hi - range.lo >= LONG_RANGE {
            let messages = self.log.read_from(partition, range.lo).await;
            let messages = messages.map_err(log_failed)?;
            return each(messages, range, &mut take).await;
        }
        let messages = self.log.read_range(partition, range).await;
        each(messages.map_err(log_failed)?, range, &mut take).await
    }
}

async fn each(
    mut messages: impl Stream<Item = event_log::Result<LogMessage>> + Unpin,
    range: SeqRange,
    take: &mut impl FnMut(LogMessage) -> anyhow::Result<()>,
) -> Result<(), Failed> {
    let mut next = range.lo;
    while next <= range.hi {
        let message = messages.next().await.ok_or(Failed::Stale)?;
        let message = message.map_err(log_failed)?;
        if message.seq != next {
            return Err(Failed::Stale);
        }
        next += 1;
        take(message)?;
    }
    Ok(())
}

/// The events of one message, of one conversation or of all.
pub(crate) fn frame_rows(
    message: &LogMessage,
    only: Option<(&TenantId, &ConversationId)>,
) -> anyhow::Result<Vec<StoredEvent>> {
    let place = || format!("read {} {}", message.partition, message.seq);
    let Ok(frame) = Frame::decode(message.payload.clone()) else {
        // The compactor puts what it cannot read aside; a reader passes it over.
        tracing::warn!(partition = %message.partition, seq = message.seq, "unreadable frame");
        return Ok(Vec::new());
    };
    let wanted = |index: usize| {
        only.is_none_or(|(tenant, conversation)| {
            frame.tenant == *tenant && frame.conversations[index] == *conversation
        })
    };
    let mut rows = Vec::new();
    for (idx, framed) in frame.events.iter().enumerate() {
        if !wanted(framed.conversation) {
            continue;
        }
        let event = framed.encoded.decode(&frame.tenant).with_context(place)?;
        let idx = u16::try_from(idx).expect("a frame has at most 500 events");
        rows.push(StoredEvent {
            event,
            position: Position::new(message.partition, message.seq, idx),
            received_at: message.received_at,
            crc32c: framed.encoded.crc32c,
            sample_rate: 1.0,
        });
    }
    Ok(rows)
}

fn decode(batches: &[arrow::record_batch::RecordBatch]) -> Result<Vec<StoredEvent>, Failed> {
    let mut rows = Vec::new();
    for batch in batches {
        rows.extend(segment::decode(batch).map_err(|error| Failed::Down(error.into()))?);
    }
    Ok(rows)
}

pub(crate) fn warm_failed(error: warm_tier::Error) -> Failed {
    if error.is_transient() {
        Failed::Stale
    } else {
        Failed::Down(error.into())
    }
}

fn log_failed(error: event_log::Error) -> Failed {
    match error {
        event_log::Error::Gap { .. } => Failed::Stale,
        error => Failed::Down(error.into()),
    }
}
