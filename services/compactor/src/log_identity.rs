//! Checks the log identity: a log must be the one that the tiers were filled from. A new log, or one
//! restored from an older copy, assigns positions a second time, and its events would be mistaken for
//! those that the tiers have. It is detected by its end, and by the event that it has at the position
//! of a tier's log anchor.

use anyhow::Context as _;
use cold_tier::{ColdScan, ColdTier, Order, Table};
use event::{PartitionId, Position, Seq, SeqRange, StoredEvent};
use event_log::{EventLog, LogMessage, LogState, stream_name};
use event_proto::Frame;
use futures::TryStreamExt as _;
use service_runtime::Backoff;
use tokio_util::sync::CancellationToken;
use warm_tier::{LogAnchor, LogEnd};

use crate::{cold::LazyColdTier, context::WorkerContext};

/// The log is not the one that a tier was filled from.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LogDiverged {
    /// It ends before the last sequence that the tier has.
    #[error(
        "the log of partition {partition} ends at {last}, but the {tier} tier has it up to {known}: this is an older \
         copy of the log, or a new one, and new events would get positions that others have. Nothing was changed. \
         Use the log that belongs to this {tier} tier (in `isotherm dev` the old --data), or an empty {tier} tier; or \
         stop ingest and let the log go on behind it with `nats stream purge {} --seq {} --force` (see \"Back up and \
         restore\" in docs/operations.md)",
        stream_name(*partition), known + 1
    )]
    EndsTooEarly {
        tier: &'static str,
        partition: PartitionId,
        last: Seq,
        known: Seq,
    },
    /// It has another event at a position of the tier.
    #[error(
        "the log has another event at {position} than the {tier} tier: this is an older copy of the log, or a new \
         one, in which events have got positions that others have. Nothing was changed. Use the log that belongs to \
         this {tier} tier (in `isotherm dev` the old --data), or an empty {tier} tier; or stop ingest and see \"Back \
         up and restore\" in docs/operations.md"
    )]
    DifferentEvent {
        tier: &'static str,
        position: Position,
    },
}

/// Checks that the log reaches the last sequence that the tier has, `known`; 0 when it has none.
fn check_end(
    tier: &'static str,
    partition: PartitionId,
    log: LogState,
    known: Seq,
) -> Result<(), LogDiverged> {
    if log.last >= known {
        return Ok(());
    }
    let last = log.last;
    Err(LogDiverged::EndsTooEarly {
        tier,
        partition,
        last,
        known,
    })
}

/// Checks that `message`, which has the sequence of `anchor`, has its event.
fn check_event(
    tier: &'static str,
    anchor: LogAnchor,
    message: &LogMessage,
) -> Result<(), LogDiverged> {
    let LogAnchor { position, crc32c } = anchor;
    let frame = Frame::decode(message.payload.clone()).ok();
    let event = frame.and_then(|frame| frame.events.into_iter().nth(position.idx.into()));
    if event.is_some_and(|event| event.encoded.crc32c == crc32c) {
        return Ok(());
    }
    Err(LogDiverged::DifferentEvent { tier, position })
}

/// Checks that the log is that of the warm tier, which has read it up to `end`; then the volume is that of
/// the log's store. Returns the state of the log.
pub(crate) async fn check_warm(
    context: &WorkerContext,
    partition: PartitionId,
    end: LogEnd,
) -> anyhow::Result<LogState> {
    let log = &context.log;
    let state = log.state(partition).await.context("read the log's state")?;
    check_end("warm", partition, state, end.through)?;
    check_anchor("warm", log, state, end.anchor).await?;
    if end.through > 0 {
        context.store.claim()?;
    }
    Ok(state)
}

/// Checks that the log has the event of `anchor`, unless it was purged.
async fn check_anchor(
    tier: &'static str,
    log: &EventLog,
    state: LogState,
    anchor: Option<LogAnchor>,
) -> anyhow::Result<()> {
    let Some(anchor) = anchor.filter(|anchor| anchor.position.seq >= state.first) else {
        return Ok(());
    };
    let seq = anchor.position.seq;
    let range = SeqRange { lo: seq, hi: seq };
    let messages = log.read_range(anchor.position.partition, range).await;
    let messages: Vec<LogMessage> = messages?.try_collect().await.context("read the log")?;
    // Empty when it was purged meanwhile.
    messages
        .first()
        .map_or(Ok(()), |message| Ok(check_event(tier, anchor, message)?))
}

/// Checks that the log of `partition`, whose state is `state`, is that of the cold tier. Retries while
/// the cold tier does not answer.
pub(crate) async fn check_cold(
    cold: &mut LazyColdTier,
    log: &EventLog,
    (partition, state): (PartitionId, LogState),
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let tier = cold.tier()?;
    let transient = cold_tier::Error::is_transient;
    let (committed, last) = Backoff::default()
        .retry("read the cold tier", shutdown, transient, || {
            read_cold_end(tier, partition)
        })
        .await
        .context("read the cold tier")?;
    check_end("cold", partition, state, committed)?;
    let anchor = last.map(|row| LogAnchor {
        position: row.position,
        crc32c: row.crc32c,
    });
    check_anchor("cold", log, state, anchor).await
}

/// Reads the last sequence of the partition that the cold tier has committed, and the last event that
/// it still has.
async fn read_cold_end(
    tier: &ColdTier,
    partition: PartitionId,
) -> cold_tier::Result<(Seq, Option<StoredEvent>)> {
    let events = tier.table_snapshot(Table::Events).await?;
    let scan = ColdScan {
        partition: Some(partition),
        order: Some(Order::Desc),
        limit: Some(1),
        ..ColdScan::default()
    };
    let last = match tier.read(&events, &scan).await {
        Ok(batches) => batches
            .iter()
            .find_map(|rows| segment::decode(rows).ok()?.pop()),
        Err(error @ (cold_tier::Error::Damaged { .. } | cold_tier::Error::Rows { .. })) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, %partition, "the log cannot be compared with the cold tier");
            None
        }
        Err(error) => return Err(error),
    };
    Ok((events.committed(partition), last))
}
