//! The common parts of all answers: the tiers that the rows come from, and whether any are missing.

use std::{collections::BTreeSet, fmt::Write as _};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use event::PartitionId;
use serde_json::{Value, json};

use crate::{
    error::{QueryError, Result},
    format::Format,
    memory::held,
    plan::Source,
    read::Missing,
    scan::ScanResult,
};

/// Header with the tiers that the rows come from.
pub(super) const TIERS: HeaderName = HeaderName::from_static("isotherm-tiers");
/// Header that says whether nothing is missing.
pub(super) const COMPLETE: HeaderName = HeaderName::from_static("isotherm-complete");
/// Header with the cursor of the next page.
pub(super) const NEXT: HeaderName = HeaderName::from_static("isotherm-next");

/// Returns a response with a body in `format`, and the headers that describe it.
pub(super) fn reply(
    format: Format,
    body: impl Into<Body>,
    sources: &BTreeSet<Source>,
    complete: bool,
) -> Response {
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.content_type()),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let tiers = HeaderValue::from_str(&tiers(sources).join(","));
    headers.insert(TIERS, tiers.expect("names of tiers are ASCII"));
    let complete = if complete { "true" } else { "false" };
    headers.insert(COMPLETE, HeaderValue::from_static(complete));
    response
}

/// Returns the names of the tiers among `sources`, hot to cold; the log, which is no tier, comes last.
pub(super) fn tiers(sources: &BTreeSet<Source>) -> Vec<&'static str> {
    let has = |tier: &str| sources.iter().any(|source| source.tier() == tier);
    let tiers = ["hot", "warm", "cold", "log"].into_iter();
    tiers.filter(|tier| has(tier)).collect()
}

/// Returns the gaps as `{"partition":"g1p07e1","from":3,"to":9}`; `to` is null for a gap without end.
pub(super) fn missing(partition: PartitionId, missing: &Missing) -> Vec<Value> {
    let partition = partition.to_string();
    let ranges = missing.ranges.ranges().iter();
    let ranges = ranges.map(|range| (range.lo, Some(range.hi)));
    ranges
        .chain(missing.open_from.map(|from| (from, None)))
        .map(|(from, to)| json!({"partition": partition, "from": from, "to": to}))
        .collect()
}

/// Appends `,"name":value` to a JSON object that is being written.
pub(super) fn member(out: &mut Vec<u8>, name: &str, value: &Value) {
    let mut text = String::new();
    write!(text, ",\"{name}\":{value}").expect("a String takes everything");
    out.extend_from_slice(text.as_bytes());
}

/// Returns `rows` as `{"<name>":[…],"next":…,"complete":…}`, or one per line.
pub(super) fn rows_reply(
    format: Format,
    name: &str,
    rows: impl Iterator<Item = Value>,
    next: Option<Option<String>>,
    scanned: ScanResult,
) -> Result<Response> {
    let lines = matches!(format, Format::Ndjson);
    if !lines && format != Format::Json {
        let detail =
            "this path supports application/json and application/x-ndjson; SQL supports others";
        let status = StatusCode::NOT_ACCEPTABLE;
        return Err(QueryError::refused(status, "not_acceptable", detail));
    }
    let mut out = Vec::new();
    if lines {
        rows.for_each(|row| out.extend_from_slice(format!("{row}\n").as_bytes()));
    } else {
        out.extend_from_slice(format!("{{\"{name}\":[").as_bytes());
        for (index, row) in rows.enumerate() {
            let comma = if index > 0 { "," } else { "" };
            out.extend_from_slice(format!("{comma}{row}").as_bytes());
        }
        out.push(b']');
        if let Some(next) = &next {
            member(&mut out, "next", &json!(next));
        }
        member(&mut out, "complete", &json!(scanned.missing.is_empty()));
        let parts = scanned.missing.iter();
        let missing: Vec<Value> = parts.flat_map(|(id, part)| missing(*id, part)).collect();
        member(&mut out, "missing", &json!(missing));
        out.push(b'}');
    }
    let body = match scanned.memory {
        Some(memory) => held(out, memory),
        None => out.into(),
    };
    let mut response = reply(format, body, &scanned.sources, scanned.missing.is_empty());
    if let Some(next) = next.flatten() {
        let next = HeaderValue::from_str(&next);
        response
            .headers_mut()
            .insert(NEXT, next.expect("times and ids are ASCII"));
    }
    Ok(response)
}
