//! Before a partition of the warm tier begins anew: its log must be the one that the cold tier was
//! filled from. One that was restored from an older copy gives positions out a second time; events
//! there would be taken for those that the cold tier has.

use anyhow::Context as _;
use cold_tier::{ColdScan, ColdTier, Order, Table};
use event::{PartitionId, Seq, SeqRange, StoredEvent};
use event_log::{EventLog, LogMessage, LogState, stream_name};
use event_proto::Frame;
use futures::TryStreamExt as _;
use service_runtime::Backoff;
use tokio_util::sync::CancellationToken;

use crate::cold::Cold;

/// What shows that the log is another one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Foreign {
    #[error(
        "the log of partition {partition} ends at {last}, but the cold tier has it up to {cold}: this is an older \
         copy of the log, or a new one, and new events would get positions that others have; give it an empty \
         cold tier, or stop ingest and let the log go on behind this one with `nats stream purge {} --seq {} \
         --force` (see \"Back up and restore\" in docs/operations.md)",
        stream_name(*partition), cold + 1
    )]
    Older {
        partition: PartitionId,
        last: Seq,
        cold: Seq,
    },
    #[error(
        "the log of partition {partition} has another event at {seq}-{idx} than the cold tier: this is an older \
         copy of the log, or a new one, in which events have got positions that others have; give it an empty \
         cold tier, or stop ingest and see \"Back up and restore\" in docs/operations.md"
    )]
    Other {
        partition: PartitionId,
        seq: Seq,
        idx: u16,
    },
}

/// The log must reach as far as the cold tier, `cold`; 0 is nowhere.
fn reaches(partition: PartitionId, log: LogState, cold: Seq) -> Result<(), Foreign> {
    if log.last >= cold {
        return Ok(());
    }
    let last = log.last;
    Err(Foreign::Older {
        partition,
        last,
        cold,
    })
}

/// `row` of the cold tier must be in the message of its sequence.
fn compare(row: &StoredEvent, message: &LogMessage) -> Result<(), Foreign> {
    let (seq, idx) = row.position.offset();
    let frame = Frame::decode(message.payload.clone()).ok();
    let event = frame.and_then(|frame| frame.events.into_iter().nth(idx.into()));
    if event.is_some_and(|event| event.encoded.crc32c == row.crc32c) {
        return Ok(());
    }
    let partition = row.position.partition;
    Err(Foreign::Other {
        partition,
        seq,
        idx,
    })
}

/// Fails when the log of `partition` is not that of the cold tier. Waits while the cold tier does
/// not answer.
pub(crate) async fn check(
    cold: &mut Cold,
    log: &EventLog,
    partition: PartitionId,
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
    let state = log.state(partition).await.context("read the log's state")?;
    reaches(partition, state, committed)?;
    let Some(row) = newest.filter(|row| row.position.seq >= state.first) else {
        return Ok(());
    };
    let seq = row.position.seq;
    let range = SeqRange { lo: seq, hi: seq };
    let messages = log.read_range(partition, range).await;
    let messages: Vec<LogMessage> = messages?.try_collect().await.context("read the log")?;
    // There is none when it was purged just now.
    messages
        .first()
        .map_or(Ok(()), |message| Ok(compare(&row, message)?))
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
