//! `GET /v1/stats/hourly`: events and bytes by hour of event time and type.
//!
//! Computed before sampling and expiry, so an hour keeps its numbers for ever. An hour has at most 1,000
//! types; the events of all others are of the type `(other)`.

use axum::{
    extract::{RawQuery, State},
    http::HeaderMap,
    response::Response,
};
use event::{TenantId, Timestamp};
use serde_json::json;
use warm_tier::sql::Table;

use super::reply::rows_reply;
use crate::{
    error::Result, format::Format, params::Params, rollup, scan::ScanRequest, service::Shared,
};

pub(super) async fn hourly(
    State(service): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let format = Format::accepted(&headers)?;
    let mut params = Params::parse(query.as_deref());
    let from: Option<Timestamp> = params.value("from")?;
    let to: Option<Timestamp> = params.value("to")?;
    let types = params.types();
    params.end()?;
    let request = ScanRequest::rollup(TenantId::default_tenant(), Table::HourlyStats);
    let mut scanned = service.bounded(service.scan(&request)).await?;
    scanned.reserve_for_sums().await?;
    let hours = rollup::hourly_stats(&std::mem::take(&mut scanned.batches));
    let rows = hours
        .into_iter()
        .filter(|((hour, kind), _)| {
            from.is_none_or(|from| *hour >= from.hour())
                && to.is_none_or(|to| *hour < to)
                && types.matches(kind)
        })
        .map(|((hour, kind), sums)| {
            json!({
                "hour": hour.to_string(),
                "type": kind,
                "events": sums.events,
                "bytes": sums.bytes,
            })
        });
    rows_reply(format, "hours", rows, None, scanned)
}
