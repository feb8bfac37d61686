//! `GET /v1/conversations`: the conversations, the latest event time first.

use axum::{
    extract::{RawQuery, State},
    http::HeaderMap,
    response::Response,
};
use event::{ConversationId, TenantId, Timestamp};
use serde_json::{Value, json};
use warm_tier::sql::Table;

use super::reply::rows_reply;
use crate::{
    error::{QueryError, Result},
    format::Format,
    params::Params,
    rollup::{self, ConversationSummary},
    scan::ScanRequest,
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
    let request = ScanRequest::rollup(TenantId::default_tenant(), Table::ConversationSummary);
    let scanned = service.bounded(service.scan(&request)).await?;
    let mut all: Vec<(String, ConversationSummary)> =
        rollup::conversation_summaries(&scanned.batches)
            .into_iter()
            .collect();
    // Newest first, then by id: a total order, so that a cursor is unambiguous.
    all.sort_by(|(a_id, a), (b_id, b)| b.last.cmp(&a.last).then_with(|| a_id.cmp(b_id)));
    if let Some((time, id)) = &after {
        all.retain(|(own_id, totals)| {
            totals.last < *time || (totals.last == *time && own_id.as_str() > id.as_str())
        });
    }
    let more = all.len() > limit;
    all.truncate(limit);
    let next = all.last().filter(|_| more);
    let next = next.map(|(id, conversation)| format!("{}/{id}", conversation.last));
    let rows: Vec<Value> = all.iter().map(|(id, totals)| summary(id, totals)).collect();
    rows_reply(format, "conversations", &rows, Some(next), &scanned)
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

/// Parses `<last_timestamp>/<conversation_id>`, the `next` of an earlier answer.
fn parse_cursor(text: &str) -> Result<(Timestamp, ConversationId)> {
    let parsed = text
        .split_once('/')
        .and_then(|(time, id)| Some((time.parse().ok()?, ConversationId::new(id).ok()?)));
    parsed.ok_or_else(|| {
        let detail = "after is not the next of an earlier answer; start again without it";
        QueryError::bad_request("invalid_cursor", detail)
    })
}
