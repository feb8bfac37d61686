//! `GET /v1/conversations/{id}/tail` and `GET /v1/tail`: server-sent events.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use event::{Position, TenantId};

use super::events::wanted;
use crate::{
    error::{Problem, Result},
    merge::Order,
    params::{Params, offset_in},
    service::Shared,
    tail,
};

const LAST_EVENT_ID: &str = "last-event-id";

pub(super) async fn conversation(
    State(service): State<Shared>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let mut params = Params::parse(query.as_deref());
    let mut wanted = wanted(&service, &id, &mut params)?;
    params.end()?;
    if wanted.before.is_some() || query.is_some_and(|query| query.contains("order=")) {
        let detail = "a tail has no before and no order: it goes on for ever, oldest first";
        return Err(Problem::bad_request("invalid_parameter", detail));
    }
    wanted.order = Order::Asc;
    if let Some(last) = last_event_id(&headers)? {
        let position = last.parse::<Position>()?;
        wanted.after = Some(offset_in(wanted.partition, position)?);
    }
    let slot = slot(&service)?;
    Ok(stream(tail::conversation(service, wanted, slot)))
}

pub(super) async fn tenant(
    State(service): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let mut params = Params::parse(query.as_deref());
    let types = params.types();
    let after = params.text("after")?;
    params.end()?;
    let after = last_event_id(&headers)?.or(after);
    let from = tail::start(&service, after.as_deref()).await?;
    let slot = slot(&service)?;
    let tenant = TenantId::default_tenant();
    Ok(stream(tail::tenant(service, tenant, types, from, slot)))
}

/// What a client sends when it comes back; it knows better than the URL that it began with.
fn last_event_id(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| event::ParsePositionError)?;
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

fn slot(service: &Shared) -> Result<tail::Slot> {
    let permit = Arc::clone(&service.tail_slots).try_acquire_owned();
    let permit = permit.map_err(|_| {
        Problem::unavailable(
            "too_many_tails",
            "too many clients follow already; come back later",
        )
    })?;
    Ok(tail::Slot::new(
        permit,
        service.sources.metrics.tail_clients.clone(),
    ))
}

fn stream(
    chunks: impl futures::Stream<Item = std::result::Result<bytes::Bytes, std::io::Error>>
    + Send
    + 'static,
) -> Response {
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    let events = HeaderValue::from_static("text/event-stream");
    headers.insert(header::CONTENT_TYPE, events);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that buffer would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
