//! `GET /v1/conversations/{id}/tail` and `GET /v1/tail`: server-sent events.

use axum::{
    Extension,
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use event::{Position, TenantId};
use service_runtime::ClientAddr;

use super::events::read_request;
use crate::{
    error::{QueryError, Result},
    merge::ReadOrder,
    params::{Params, offset_in},
    service::Shared,
    tail,
};

const LAST_EVENT_ID: &str = "last-event-id";

pub(super) async fn conversation(
    State(service): State<Shared>,
    Extension(client): Extension<ClientAddr>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let mut params = Params::parse(query.as_deref());
    let mut request = read_request(&service, &id, &mut params)?;
    params.end()?;
    if request.before.is_some() || query.is_some_and(|query| query.contains("order=")) {
        let detail = "a tail has no before and no order: it goes on for ever, oldest first";
        return Err(QueryError::bad_request("invalid_parameter", detail));
    }
    request.order = ReadOrder::Asc;
    if let Some(last) = last_event_id(&headers)? {
        let position = last.parse::<Position>()?;
        request.after = Some(offset_in(request.partition, position)?);
    }
    let slot = service.tail_slots.take(client);
    Ok(stream(tail::conversation(service, request, slot)))
}

pub(super) async fn tenant(
    State(service): State<Shared>,
    Extension(client): Extension<ClientAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let mut params = Params::parse(query.as_deref());
    let types = params.types();
    let after = params.text("after")?;
    params.end()?;
    let after = last_event_id(&headers)?.or(after);
    let from = tail::start(&service, after.as_deref()).await?;
    let slot = service.tail_slots.take(client);
    let tenant = TenantId::default_tenant();
    Ok(stream(tail::tenant(service, tenant, types, from, slot)))
}

/// Returns what a client sends when it reconnects; it takes precedence over the URL's `after`.
fn last_event_id(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| event::ParsePositionError)?;
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
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
