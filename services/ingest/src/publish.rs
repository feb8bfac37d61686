//! The frames of one request go to the log, and the log's answers become the request's.

use std::{collections::BTreeMap, error::Error as _};

use axum::http::StatusCode;
use event::{PartitionId, Position, Seq};
use event_log::{Appended, Error, EventLog};
use futures::future::join_all;
use serde::Serialize;
use tracing::{Span, error, warn};

use crate::{
    accept::{Accepted, Frame, Placed},
    metrics::Metrics,
    problem::{BadItem, Problem},
};

const RETRY: &str = "some of its events may be stored; retry with the same event ids";

/// The answer to a request that was stored.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Receipt {
    /// Events that are in the log now, those that were there before included.
    pub(crate) acked: usize,
    /// How many of them the log, or the request itself, had already.
    pub(crate) duplicates: usize,
    /// Per partition, the sequence up to which a reader must be to see all of them.
    pub(crate) watermark: BTreeMap<String, Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) receipts: Option<Vec<EventReceipt>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rejected: Vec<BadItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rejected_total: Option<usize>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct EventReceipt {
    pub(crate) index: usize,
    pub(crate) event_id: String,
    pub(crate) position: String,
    pub(crate) duplicate: bool,
}

/// Appends all frames at once and waits for every acknowledgement.
pub(crate) async fn publish(
    log: &EventLog,
    metrics: &Metrics,
    accepted: Accepted,
    receipts: bool,
) -> Result<Receipt, Problem> {
    let headers = service_runtime::propagation::inject(&Span::current());
    let appends = accepted.frames.iter().map(|frame| {
        let (payload, headers) = (frame.payload.clone(), headers.clone());
        let timer = metrics.publish_seconds.start_timer();
        async move {
            let appended = log.append(frame.partition, &frame.message_id, payload, headers);
            let appended = appended.await;
            timer.observe_duration();
            appended
        }
    });
    let answers = join_all(appends).await;
    let (appended, errors): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    if let Some(worst) = errors.into_iter().filter_map(Result::err).max_by_key(rank) {
        return Err(problem(&worst));
    }
    let appended: Vec<_> = appended.into_iter().flatten().collect();
    Ok(receipt(accepted, &appended, receipts))
}

pub(crate) fn receipt(accepted: Accepted, appended: &[Appended], receipts: bool) -> Receipt {
    let Accepted {
        frames,
        placed,
        rejected,
        rejected_total,
    } = accepted;
    let mut watermark = BTreeMap::new();
    for (frame, answer) in frames.iter().zip(appended) {
        let seq = watermark.entry(frame.partition.to_string()).or_insert(0);
        *seq = answer.seq.max(*seq);
    }
    let is_duplicate = |place: &Placed| place.repeated || appended[place.frame].duplicate;
    let each = |place: &Placed| EventReceipt {
        index: place.index,
        event_id: place.event_id.to_string(),
        position: position(&frames, appended, place).to_string(),
        duplicate: is_duplicate(place),
    };
    Receipt {
        acked: placed.len(),
        duplicates: placed.iter().filter(|place| is_duplicate(place)).count(),
        watermark,
        receipts: receipts.then(|| placed.iter().map(each).collect()),
        rejected,
        rejected_total: (rejected_total > 0).then_some(rejected_total),
    }
}

fn position(frames: &[Frame], appended: &[Appended], place: &Placed) -> Position {
    let partition: PartitionId = frames[place.frame].partition;
    Position::new(partition, appended[place.frame].seq, place.idx)
}

/// Which of several errors the client must hear of: the one that asks most of it.
fn rank(error: &Error) -> u8 {
    match error {
        Error::Unavailable { .. } => 0,
        Error::Full(_) => 1,
        Error::Unknown { .. } => 2,
        _ => 3,
    }
}

pub(crate) fn problem(error: &Error) -> Problem {
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    match error {
        Error::Full(_) => {
            warn!(%error, "the log is full");
            let status = StatusCode::TOO_MANY_REQUESTS;
            let detail = format!("the log is full until the tiers have caught up; {RETRY}");
            Problem::new(status, "log_full", detail).retry_after(5)
        }
        Error::TooLarge(bytes) => {
            let detail = format!(
                "a message of {bytes} bytes is too large for the log; split the content of its events"
            );
            Problem::too_large("event_too_large", detail)
        }
        Error::Unknown { .. } | Error::Unavailable { .. } => {
            warn!(error = error as &dyn std::error::Error, source = ?error.source(), "outcome unknown");
            let detail = format!("the log did not answer, the outcome is unknown; {RETRY}");
            Problem::new(unavailable, "outcome_unknown", detail).retry_after(1)
        }
        _ => {
            error!(
                error = error as &dyn std::error::Error,
                "the log is damaged"
            );
            let detail = format!("the log is damaged and takes nothing; {RETRY}");
            Problem::new(unavailable, "log_damaged", detail).retry_after(60)
        }
    }
}
