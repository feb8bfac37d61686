//! `GET /v1/conversations`: what there is, the most recent event time first.

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
    error::{Problem, Result},
    format::Format,
    params::Params,
    rollup::{self, Conversation},
    scan::Request,
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
        .map(|text| cursor(&text))
        .transpose()?;
    params.end()?;
    let request = Request::rollup(TenantId::default_tenant(), Table::ConversationSummary);
    let scanned = service.bounded(service.scan(&request)).await?;
    let mut all: Vec<(String, Conversation)> = rollup::conversations(&scanned.batches)
        .into_iter()
        .collect();
    // Newest first, and by name among equals: a total order, which the cursor is a place in.
    all.sort_by(|(a_id, a), (b_id, b)| b.last.cmp(&a.last).then_with(|| a_id.cmp(b_id)));
    if let Some((time, id)) = &after {
        all.retain(|(own_id, own)| {
            own.last < *time || (own.last == *time && own_id.as_str() > id.as_str())
        });
    }
    let more = all.len() > limit;
    all.truncate(limit);
    let next = all.last().filter(|_| more);
    let next = next.map(|(id, conversation)| format!("{}/{id}", conversation.last));
    let rows: Vec<Value> = all.iter().map(|(id, own)| summary(id, own)).collect();
    rows_reply(format, "conversations", &rows, Some(next), &scanned)
}

fn summary(id: &str, own: &Conversation) -> Value {
    json!({
        "conversation_id": id,
        "events": own.events,
        "bytes": own.bytes,
        "errors": own.errors,
        "first_timestamp": own.first.to_string(),
        "last_timestamp": own.last.to_string(),
        "start_timestamp": own.start.to_string(),
    })
}

/// `<last_timestamp>/<conversation_id>`, as an earlier answer's `next` has it.
fn cursor(text: &str) -> Result<(Timestamp, ConversationId)> {
    let parsed = text
        .split_once('/')
        .and_then(|(time, id)| Some((time.parse().ok()?, ConversationId::new(id).ok()?)));
    parsed.ok_or_else(|| {
        let detail = "after is not the next of an earlier answer; begin again without it";
        Problem::bad_request("invalid_cursor", detail)
    })
}
