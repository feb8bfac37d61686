//! Appends the frames of one request to the log, and builds the receipt from the acknowledgements.

mod appender;
mod message_id;

use std::{collections::BTreeMap, error::Error as _, mem, sync::Arc};

use axum::http::StatusCode;
use event::{PartitionId, Seq};
use event_log::Error;
use futures::future::join_all;
use serde::Serialize;
use tracing::{error, warn};

pub(crate) use appender::{Appender, FrameAck, Headers, header_bytes};
pub(crate) use message_id::{NewMessage, original_id};

use crate::{
    accept::{Accepted, Frame, ItemPlacement},
    problem::{BadItem, Problem},
};

/// The advice for errors after which some frames may be stored.
const RETRY_ADVICE: &str = "some of its events may be stored; retry with the same event ids";

/// The response to a request that was stored.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Receipt {
    /// The number of its events that are in the log, including duplicates.
    pub(crate) acked: usize,
    /// The number of events that the log, or the request itself, had already.
    pub(crate) duplicates: usize,
    /// Per partition, the sequence that a reader must reach to see all events.
    pub(crate) watermark: BTreeMap<String, Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) receipts: Option<Vec<EventReceipt>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rejected: Vec<BadItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rejected_total: Option<usize>,
}

/// The receipt of one event.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct EventReceipt {
    /// The index of the item in the request, counted from 0.
    pub(crate) index: usize,
    pub(crate) event_id: String,
    pub(crate) position: String,
    pub(crate) duplicate: bool,
}

/// Appends the frames, those of a partition one after the other and no further than the first that fails, so
/// that a retry of the request appends them in the same order; the problem of the worst error when any fails.
pub(crate) async fn publish(
    appender: &Appender,
    mut accepted: Accepted,
    headers: &Headers,
    receipts: bool,
) -> Result<Receipt, Problem> {
    let mut by_partition: BTreeMap<PartitionId, Vec<(usize, Frame)>> = BTreeMap::new();
    for (index, frame) in mem::take(&mut accepted.frames).into_iter().enumerate() {
        let frames = by_partition.entry(frame.partition).or_default();
        frames.push((index, frame));
    }
    let appends = by_partition.into_values().map(async |frames| {
        let mut acks = Vec::with_capacity(frames.len());
        for (index, frame) in frames {
            acks.push((index, appender.append(frame, Arc::clone(headers)).await?));
        }
        Ok::<_, Arc<Error>>(acks)
    });
    let (mut acks, mut errors) = (Vec::new(), Vec::new());
    for result in join_all(appends).await {
        match result {
            Ok(of_partition) => acks.extend(of_partition),
            Err(error) => errors.push(error),
        }
    }
    if let Some(worst) = errors.iter().max_by_key(|error| severity(error)) {
        return Err(problem(worst));
    }
    acks.sort_unstable_by_key(|(index, _)| *index);
    let acks: Vec<_> = acks.into_iter().map(|(_, ack)| ack).collect();
    Ok(receipt(accepted, &acks, receipts))
}

/// Builds the receipt; `acks` has the acknowledgement of each frame.
pub(crate) fn receipt(accepted: Accepted, acks: &[FrameAck], receipts: bool) -> Receipt {
    let Accepted {
        placements,
        rejected,
        rejected_total,
        ..
    } = accepted;
    let mut watermark = BTreeMap::new();
    for ack in acks {
        let seq = watermark
            .entry(ack.first.partition.to_string())
            .or_insert(0);
        *seq = ack.first.seq.max(*seq);
    }
    let is_duplicate =
        |placement: &ItemPlacement| placement.repeated || acks[placement.frame].duplicate;
    let event_receipt = |placement: &ItemPlacement| EventReceipt {
        index: placement.index,
        event_id: placement.event_id.to_string(),
        position: acks[placement.frame].position(placement.idx).to_string(),
        duplicate: is_duplicate(placement),
    };
    Receipt {
        acked: placements.len(),
        duplicates: placements
            .iter()
            .filter(|placement| is_duplicate(placement))
            .count(),
        watermark,
        receipts: receipts.then(|| placements.iter().map(event_receipt).collect()),
        rejected,
        rejected_total: (rejected_total > 0).then_some(rejected_total),
    }
}

/// The order in which one of several errors is reported: the highest is the one that needs the most action.
fn severity(error: &Error) -> u8 {
    match error {
        Error::Unavailable { .. } => 0,
        Error::Full(_) => 1,
        Error::Unknown { .. } => 2,
        _ => 3,
    }
}

/// The problem for an error of the log.
pub(crate) fn problem(error: &Error) -> Problem {
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    match error {
        Error::Full(_) => {
            warn!(%error, "log is full");
            let status = StatusCode::TOO_MANY_REQUESTS;
            let detail = format!("the log is full until the tiers have caught up; {RETRY_ADVICE}");
            Problem::new(status, "log_full", detail).retry_after(5)
        }
        Error::TooLarge(bytes) => {
            let detail = format!(
                "a message of {bytes} bytes is too large for the log; split the content of its events; others of \
                 the request may be stored"
            );
            Problem::too_large("event_too_large", detail)
        }
        Error::Unknown { .. } | Error::Unavailable { .. } => {
            warn!(error = error as &dyn std::error::Error, source = ?error.source(), "append outcome unknown");
            let detail = format!("the log did not answer, the outcome is unknown; {RETRY_ADVICE}");
            Problem::new(unavailable, "outcome_unknown", detail).retry_after(1)
        }
        Error::Regressed { .. } | Error::Replaced { .. } => {
            error!(%error, "log is not the one that took events before");
            let detail = format!("{error}; it takes nothing until then; {RETRY_ADVICE}");
            Problem::new(unavailable, "log_diverged", detail).retry_after(60)
        }
        _ => {
            error!(error = error as &dyn std::error::Error, "log is damaged");
            let detail = format!("the log is damaged and takes nothing; {RETRY_ADVICE}");
            Problem::new(unavailable, "log_damaged", detail).retry_after(60)
        }
    }
}
