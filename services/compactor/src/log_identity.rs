//! A log must be the one that the tiers were filled from. One that was restored from an older copy,
//! or a new one, gives positions out a second time; events there would be taken for those that the
//! tiers have. It shows by its end, and by what it has where a tier has an event.

use anyhow::Context as _;
use cold_tier::{ColdScan, ColdTier, Order, Table};
use event::{PartitionId, Position, Seq, SeqRange, StoredEvent};
use event_log::{EventLog, LogMessage, LogState, stream_name};
use event_proto::Frame;
use futures::TryStreamExt as _;
use service_runtime::Backoff;
use tokio_util::sync::CancellationToken;
use warm_tier::LogAnchor;

use crate::cold::Cold;

/// What shows that the log is another one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LogDiverged {
    #[error(
        "the log of partition {partition} ends at {last}, but the {tier} tier has it up to {known}: this is an older \
         copy of the log, or a new one, and new events would get positions that others have. Nothing was changed. \
         Use the log that belongs to this {tier} tier (in `isotherm dev` the old --data), or an empty {tier} tier; or \
         stop ingest and let the log go on behind it with `nats stream purge {} --seq {} --force` (see \"Back up and \
         restore\" in docs/operations.md)",
        stream_name(*partition), known + 1
    )]
    Older {
        tier: &'static str,
        partition: PartitionId,
        last: Seq,
        known: Seq,
    },
    #[error(
        "the log has another event at {position} than the {tier} tier: this is an older copy of the log, or a new \
         one, in which events have got positions that others have. Nothing was changed. Use the log that belongs to \
         this {tier} tier (in `isotherm dev` the old --data), or an empty {tier} tier; or stop ingest and see \"Back \
         up and restore\" in docs/operations.md"
    )]
    Other {
        tier: &'static str,
        position: Position,
    },
}

/// `log` must reach as far as the tier, `known`; 0 is nowhere.
fn reaches(
    tier: &'static str,
    partition: PartitionId,
    log: LogState,
    known: Seq,
) -> Result<(), LogDiverged> {
    if log.last >= known {
        return Ok(());
    }
    let last = log.last;
    Err(LogDiverged::Older {
        tier,
        partition,
        last,
        known,
    })
}

/// The event of `mark` must be in the message of its sequence.
fn compare(tier: &'static str, mark: LogAnchor, message: &LogMessage) -> Result<(), LogDiverged> {
    let LogAnchor { position, crc32c } = mark;
    let frame = Frame::decode(message.payload.clone()).ok();
    let event = frame.and_then(|frame| frame.events.into_iter().nth(position.idx.into()));
    if event.is_some_and(|event| event.encoded.crc32c == crc32c) {
        return Ok(());
    }
    Err(LogDiverged::Other { tier, position })
}

/// Fails when the log is not that of the warm tier, which has all of it up to `known` and, of
/// what is still there, last of all `newest`.
pub(crate) async fn check_warm(
    log: &EventLog,
    partition: PartitionId,
    known: Seq,
    newest: Option<LogAnchor>,
) -> anyhow::Result<LogState> {
    let state = log.state(partition).await.context("read the log's state")?;
    reaches("warm", partition, state, known)?;
    agree("warm", log, state, newest).await?;
    Ok(state)
}

/// The log must have the event of `mark`, unless it was purged.
async fn agree(
    tier: &'static str,
    log: &EventLog,
    state: LogState,
    mark: Option<LogAnchor>,
) -> anyhow::Result<()> {
    let Some(mark) = mark.filter(|mark| mark.position.seq >= state.first) else {
        return Ok(());
    };
    let seq = mark.position.seq;
    let range = SeqRange { lo: seq, hi: seq };
    let messages = log.read_range(mark.position.partition, range).await;
    let messages: Vec<LogMessage> = messages?.try_collect().await.context("read the log")?;
    // There is none when it was purged just now.
    messages
        .first()
        .map_or(Ok(()), |message| Ok(compare(tier, mark, message)?))
}

/// Fails when the log of `partition`, which is at `state`, is not that of the cold tier. Waits while
/// the cold tier does not answer.
pub(crate) async fn check_cold(
    cold: &mut Cold,
    log: &EventLog,
    (partition, state): (PartitionId, LogState),
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let tier = cold.tier()?;
    let transient = cold_tier::Error::is_transient;
    let (committed, newest) = Backoff::default()
        .retry("look at the cold tier", shutdown, transient, || {
            look(tier, partition)
        })
        .await
        .context("look at the cold tier")?;
    reaches("cold", partition, state, committed)?;
    let mark = newest.map(|row| LogAnchor {
        position: row.position,
        crc32c: row.crc32c,
    });
    agree("cold", log, state, mark).await
}

/// How far the cold tier has the partition, and the last event that is left of it there.
async fn look(
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
    let newest = match tier.read(&events, &scan).await {
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
    Ok((events.committed(partition), newest))
}
