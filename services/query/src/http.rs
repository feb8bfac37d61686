//! The HTTP API: the routes, and what every request has in common.

mod conversations;
mod events;
mod reply;
mod sql;
mod stats;
mod tail;
mod tiers;

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{StatusCode, Uri, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get, post},
};
use service_runtime::propagation;
use tracing::{Instrument as _, field, info_span};

use crate::{
    error::QueryError,
    service::{QueryService, Shared},
    sql::MAX_STATEMENT_BYTES,
};

/// Returns the router of all paths.
pub(crate) fn router(service: Shared) -> Router {
    let api = |name: &'static str, routes: MethodRouter<Shared>| {
        routes.layer(from_fn_with_state((Arc::clone(&service), name), observe))
    };
    Router::new()
        .route(
            "/v1/conversations",
            api("conversations", get(conversations::list)),
        )
        .route(
            "/v1/conversations/{id}/events",
            api("events", get(events::read)),
        )
        .route(
            "/v1/conversations/{id}/tail",
            api("tail", get(tail::conversation)),
        )
        .route("/v1/tail", api("tail_tenant", get(tail::tenant)))
        .route("/v1/stats/hourly", api("hourly_stats", get(stats::hourly)))
        .route("/v1/sql", api("sql", post(sql::run)))
        .route("/v1/tiers", api("tiers", get(tiers::tiers)))
        .route("/v1/watermarks", api("watermarks", get(tiers::watermarks)))
        .fallback(async || {
            QueryError::refused(
                StatusCode::NOT_FOUND,
                "not_found",
                "there is nothing at this path; events are read from /v1/conversations/{id}/events",
            )
        })
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_STATEMENT_BYTES))
        .with_state(service)
}

async fn method_not_allowed(uri: Uri) -> Response {
    let allow = match uri.path() {
        "/v1/sql" => "POST",
        _ => "GET, HEAD",
    };
    let detail = format!(
        "this path takes {allow}; statements are sent with POST, all else is read with GET"
    );
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let problem = QueryError::refused(status, "method_not_allowed", detail);
    ([(header::ALLOW, allow)], problem).into_response()
}

/// Records one span and one measurement per request.
async fn observe(
    State((service, api)): State<(Arc<QueryService>, &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    let span = info_span!("query", api, http.status = field::Empty);
    let headers = request.headers().iter();
    propagation::parent_from(
        &span,
        headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))),
    );
    let start = Instant::now();
    let response = next
        .run(request)
        .instrument(span.clone())
        .await
        .into_response();
    let status = response.status();
    span.record("http.status", status.as_u16());
    let metrics = &service.sources.metrics;
    let seconds = start.elapsed().as_secs_f64();
    metrics.duration.with_label_values(&[api]).observe(seconds);
    let result = match status.as_u16() {
        200..=399 => "ok",
        400..=499 => "refused",
        503 => "unavailable",
        _ => "failed",
    };
    metrics.requests.with_label_values(&[api, result]).inc();
    response
}
