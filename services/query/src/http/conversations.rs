//! `GET /v1/conversations`: the conversations, the latest event time first.
//!
//! A listing of several pages is one of the state that its first page saw: the cursor names the last sequence
//! of each partition then. Otherwise a conversation that gets an event would move to the front, and those
//! who are past it would miss it.

use axum::{
    extract::{RawQuery, State},
    http::HeaderMap,
    response::Response,
};
use event::{ConversationId, PartitionId, Seq, TenantId, Timestamp};
use serde_json::{Value, json};
use warm_tier::sql::Table;

use super::reply::rows_reply;
use crate::{
    error::{QueryError, Result},
    format::Format,
    params::Params,
    rollup::{self, ConversationSummary},
    scan::{ScanRequest, Through},
    service::Shared,
};

pub(super) async fn list(
    State(service): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let format = Format::accepted(&headers)?;
    let mut params = Params::parse(query.as_deref());
    let limit = params.limit()?;
    let after = params
        .text("after")?
        .map(|text| parse_cursor(&text))
        .transpose()?;
    params.end()?;
    let mut request = ScanRequest::rollup(TenantId::default_tenant(), Table::ConversationSummary);
    request.through = after.as_ref().and_then(|cursor| cursor.through.clone());
    let mut scanned = service.bounded(service.scan(&request)).await?;
    scanned.reserve_for_sums().await?;
    let summaries = rollup::conversation_summaries(&std::mem::take(&mut scanned.batches));
    let mut all: Vec<(String, ConversationSummary)> = summaries.into_iter().collect();
    // Newest first, then by id: a total order, so that a cursor is unambiguous.
    all.sort_by(|(a_id, a), (b_id, b)| b.last.cmp(&a.last).then_with(|| a_id.cmp(b_id)));
    if let Some(Cursor { time, id, .. }) = &after {
        all.retain(|(own_id, totals)| {
            totals.last < *time || (totals.last == *time && own_id.as_str() > id.as_str())
        });
    }
    let more = all.len() > limit;
    all.truncate(limit);
    let next = all.last().filter(|_| more);
    let through = through_text(&scanned.through);
    let next = next.map(|(id, conversation)| format!("{through}!{}/{id}", conversation.last));
    let rows = all.iter().map(|(id, totals)| summary(id, totals));
    rows_reply(format, "conversations", rows, Some(next), scanned)
}

fn summary(id: &str, totals: &ConversationSummary) -> Value {
    json!({
        "conversation_id": id,
        "events": totals.events,
        "bytes": totals.bytes,
        "errors": totals.errors,
        "first_timestamp": totals.first.to_string(),
        "last_timestamp": totals.last.to_string(),
        "start_timestamp": totals.start.to_string(),
    })
}

/// Where a page ended.
#[derive(Debug, PartialEq, Eq)]
struct Cursor {
    /// The state that the listing is of; `None` in the cursors of earlier versions.
    through: Option<Through>,
    time: Timestamp,
    id: ConversationId,
}

fn through_text(through: &Through) -> String {
    let parts = through.iter().map(|(id, seq)| format!("{id}.{seq}"));
    parts.collect::<Vec<_>>().join(",")
}

/// Parses `<through>!<last_timestamp>/<conversation_id>`, the `next` of an earlier answer.
fn parse_cursor(text: &str) -> Result<Cursor> {
    let (through, rest) = match text.split_once('!') {
        Some((through, rest)) => (Some(through), rest),
        None => (None, text),
    };
    let parse = || {
        let parts = through.map(|text| text.split(',').map(parse_part).collect::<Option<_>>());
        let (time, id) = rest.split_once('/')?;
        Some(Cursor {
            through: match parts {
                Some(parts) => Some(parts?),
                None => None,
            },
            time: time.parse().ok()?,
            id: ConversationId::new(id).ok()?,
        })
    };
    parse().ok_or_else(|| {
        let detail = "after is not the next of an earlier answer; start again without it";
        QueryError::bad_request("invalid_cursor", detail)
    })
}

/// Parses `g1p07e1.42`.
fn parse_part(text: &str) -> Option<(PartitionId, Seq)> {
    let (id, seq) = text.split_once('.')?;
    let (generation, rest) = id.strip_prefix('g')?.split_once('p')?;
    let (partition, epoch) = rest.split_once('e')?;
    let id = PartitionId {
        generation: generation.parse().ok()?,
        partition: partition.parse().ok()?,
        epoch: epoch.parse().ok()?,
    };
    Some((id, seq.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_those_of_earlier_versions_too() {
        let through = Through::from([
            (PartitionId::first(0), 7),
            (PartitionId::first(12), u64::MAX),
        ]);
        let text = format!("{}!2026-03-01T00:00:00Z/a/b", through_text(&through));
        assert_eq!(
            text,
            "g1p00e1.7,g1p12e1.18446744073709551615!2026-03-01T00:00:00Z/a/b"
        );
        let cursor = parse_cursor(&text).unwrap();
        assert_eq!((cursor.through, cursor.id.as_str()), (Some(through), "a/b"));
        let old = parse_cursor("2026-03-01T00:00:00Z/a/b").unwrap();
        assert_eq!((old.through, old.id.as_str()), (None, "a/b"));
        for wrong in [
            "",
            "x",
            "!2026-03-01T00:00:00Z/a",
            "g1p0.7!2026-03-01T00:00:00Z/a",
            "g1p0e1.7!a",
        ] {
            parse_cursor(wrong).unwrap_err();
        }
    }
}
