//! Rows of one conversation from one source: a range of positions → events in the answer's order.

use std::collections::HashMap;

use cold_tier::{ColdScan, ColdSnapshot};
use event::{
    ConversationId, PartitionId, Position, RangeSet, Seq, SeqRange, StoredEvent, TenantId,
};
use event_log::LogMessage;
use event_proto::Frame;
use futures::{Stream, StreamExt as _};
use retention::Class;
use warm_tier::remote::{Filter, Scan, Table};

use crate::{
    merge::{ReadOrder, merge},
    params::TypeFilter,
    sources::Sources,
};

/// Ranges of the log with more messages than this are streamed by a consumer; shorter ones are read
/// message by message.
const LONG_RANGE: u64 = 256;

/// The rows of a conversation to read.
#[derive(Clone, Debug)]
pub(crate) struct ReadRequest {
    pub(crate) tenant: TenantId,
    pub(crate) conversation: ConversationId,
    pub(crate) partition: PartitionId,
    /// Exclusive.
    pub(crate) after: Option<(Seq, u16)>,
    /// Exclusive.
    pub(crate) before: Option<(Seq, u16)>,
    pub(crate) order: ReadOrder,
    pub(crate) types: TypeFilter,
}

impl ReadRequest {
    /// Whether `row` is of the conversation and within the bounds; types are not compared.
    fn includes(&self, row: &StoredEvent) -> bool {
        let offset = row.position.offset();
        self.after.is_none_or(|after| offset > after)
            && self.before.is_none_or(|before| offset < before)
            && row.event.conversation_id == self.conversation
            && row.event.tenant == self.tenant
    }
}

/// Failure to read from a source.
#[derive(Debug)]
pub(crate) enum SourceError {
    /// The source has changed since the plan: plan again.
    Stale,
    /// The source does not answer now.
    Unavailable(anyhow::Error),
}

impl From<anyhow::Error> for SourceError {
    fn from(error: anyhow::Error) -> Self {
        Self::Unavailable(error)
    }
}

impl Sources {
    /// Reads up to `limit` rows from the warm tier. `removals` is the count of removed files with
    /// which the read was planned; the warm tier refuses the scan if it has changed.
    ///
    /// # Errors
    ///
    /// [`SourceError`]: the caller plans again.
    pub(crate) async fn warm_rows(
        &self,
        request: &ReadRequest,
        range: SeqRange,
        removals: Option<u64>,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, SourceError> {
        let filter = Filter {
            tenant: Some(request.tenant.to_string()),
            conversation_id: Some(request.conversation.to_string()),
            types: request.types.exact().unwrap_or_default().to_vec(),
            after: request.after,
            before: request.before,
            ..Filter::default()
        };
        let scan = Scan {
            filter,
            removals,
            order: match request.order {
                ReadOrder::Asc => warm_tier::remote::Order::Asc,
                ReadOrder::Desc => warm_tier::remote::Order::Desc,
            },
            limit: Some(u64::try_from(limit).unwrap_or(u64::MAX)),
            ..Scan::new(Table::Events, request.partition, vec![range])
        };
        let batches = self.warm.client.collect(&scan).await.map_err(warm_error)?;
        match decode(&batches) {
            Err(error) => Err(self.report_damage(request.partition, range, error).await),
            rows => rows,
        }
    }

    /// Tells the compactor that a row of `range` is not what was written. When it has taken the slice out
    /// of its coverage, another source has the rows, or nobody: plan again.
    async fn report_damage(
        &self,
        partition: PartitionId,
        range: SeqRange,
        error: SourceError,
    ) -> SourceError {
        tracing::warn!(%partition, %range, ?error, "warm has a damaged row");
        match self.warm.client.check(partition, range).await {
            Ok(damaged) if damaged > 0 => SourceError::Stale,
            _ => error,
        }
    }

    /// Reads up to `limit` rows from `snapshot` of the cold tier, but not what warm answers, `in_warm`.
    /// Returns also the ranges of files that cannot be read.
    ///
    /// # Errors
    ///
    /// [`SourceError`]: the caller plans again.
    pub(crate) async fn cold_rows(
        &self,
        request: &ReadRequest,
        range: SeqRange,
        snapshot: &ColdSnapshot,
        in_warm: HashMap<(PartitionId, Class), RangeSet>,
        limit: usize,
    ) -> Result<(Vec<StoredEvent>, RangeSet), SourceError> {
        let scan = ColdScan {
            partition: Some(request.partition),
            ranges: Some(range.into()),
            except: in_warm,
            tenant: Some(request.tenant.clone()),
            conversation: Some(request.conversation.clone()),
            types: request.types.exact().unwrap_or_default().to_vec(),
            after: request.after,
            before: request.before,
            order: Some(match request.order {
                ReadOrder::Asc => cold_tier::Order::Asc,
                ReadOrder::Desc => cold_tier::Order::Desc,
            }),
            limit: Some(limit),
            ..ColdScan::default()
        };
        let read = self
            .cold
            .read(snapshot, cold_tier::Table::Events, &scan)
            .await?;
        Ok((decode(&read.batches)?, read.missing))
    }

    /// Reads every row of `range` in the log.
    ///
    /// # Errors
    ///
    /// [`SourceError::Stale`] when a part of `range` was purged meanwhile.
    pub(crate) async fn log_rows(
        &self,
        request: &ReadRequest,
        range: SeqRange,
    ) -> Result<LogRows, SourceError> {
        let mut read = LogRows::default();
        let only = Some((&request.tenant, &request.conversation));
        let add = |message: LogMessage| read.add(&message, only);
        self.log_messages(request.partition, range, add).await?;
        read.rows.retain(|row| request.includes(row));
        read.rows = merge(read.rows, Seq::MAX, request.order);
        Ok(read)
    }

    /// Returns the open dead letters of `partition`, to be named in every answer about their range.
    /// None while the log does not answer: then that is named.
    pub(crate) async fn open_dead_letters(&self, partition: PartitionId) -> RangeSet {
        match self.log.open_dead_letters(partition).await {
            Ok(open) => open,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, %partition, "dead letters not read");
                RangeSet::new()
            }
        }
    }

    /// Calls `handle` with every message of `range`, ascending and without a gap.
    ///
    /// # Errors
    ///
    /// [`SourceError::Stale`] when a message is no longer there; what was handled is then of no use.
    pub(crate) async fn log_messages(
        &self,
        partition: PartitionId,
        range: SeqRange,
        mut handle: impl FnMut(LogMessage),
    ) -> Result<(), SourceError> {
        if range.hi - range.lo >= LONG_RANGE {
            let messages = self.log.read_from(partition, range.lo).await;
            let messages = messages.map_err(log_error)?;
            return for_each(messages, range, &mut handle).await;
        }
        let messages = self.log.read_range(partition, range).await;
        for_each(messages.map_err(log_error)?, range, &mut handle).await
    }
}

async fn for_each(
    mut messages: impl Stream<Item = event_log::Result<LogMessage>> + Unpin,
    range: SeqRange,
    handle: &mut impl FnMut(LogMessage),
) -> Result<(), SourceError> {
    let mut next = range.lo;
    while next <= range.hi {
        let message = messages.next().await.ok_or(SourceError::Stale)?;
        let message = message.map_err(log_error)?;
        if message.seq != next {
            return Err(SourceError::Stale);
        }
        next += 1;
        handle(message);
    }
    Ok(())
}

/// Rows that were read from the log itself.
#[derive(Debug, Default)]
pub(crate) struct LogRows {
    pub(crate) rows: Vec<StoredEvent>,
    /// The sequences of frames that cannot be read, whole or in part.
    pub(crate) unreadable: RangeSet,
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

fn decode(batches: &[arrow::record_batch::RecordBatch]) -> Result<Vec<StoredEvent>, SourceError> {
    let mut rows = Vec::new();
    for batch in batches {
        rows.extend(
            segment::decode(batch).map_err(|error| SourceError::Unavailable(error.into()))?,
        );
    }
    Ok(rows)
}

pub(crate) fn warm_error(error: warm_tier::Error) -> SourceError {
    if error.is_transient() {
        SourceError::Stale
    } else {
        SourceError::Unavailable(error.into())
    }
}

fn log_error(error: event_log::Error) -> SourceError {
    match error {
        event_log::Error::Gap { .. } => SourceError::Stale,
        error => SourceError::Unavailable(error.into()),
    }
}
