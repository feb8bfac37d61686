//! `POST /v1/sql`: the body is one SELECT.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{FromRequest as _, RawQuery, Request, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use event::{PartitionId, TenantId};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use service_runtime::ClientAddr;

use super::reply::{member, missing, reply, tiers};
use crate::{
    error::{QueryError, Result},
    format::Format,
    params::Params,
    plan::Source,
    read::Missing,
    service::Shared,
    sql::{MAX_STATEMENT_BYTES, SqlAnswer, Statement},
};

/// Longest time for the statement to arrive.
const BODY_READ_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn run(
    State(service): State<Shared>,
    Extension(client): Extension<ClientAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    request: Request,
) -> Result<Response> {
    let format = Format::accepted(&headers)?;
    let mut params = Params::parse(query.as_deref());
    let config = &service.sql;
    let max_bytes = params.number("max_bytes", config.max_scan_bytes)?;
    let timeout = timeout(&mut params, config.limits.timeout)?;
    params.end()?;
    let body = tokio::time::timeout(BODY_READ_TIMEOUT, Bytes::from_request(request, &()));
    let sql = statement(body.await.map_err(|_| {
        let detail =
            format!("the statement did not arrive within {BODY_READ_TIMEOUT:?}; send it again");
        QueryError::refused(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
    })?)?;
    let answer = service.run_sql(Statement {
        client,
        tenant: TenantId::default_tenant(),
        sql,
        format,
        max_scan_bytes: max_bytes.unwrap_or(config.max_scan_bytes),
        timeout,
    });
    let SqlAnswer {
        result,
        sources,
        missing,
    } = answer.await?;
    let complete = missing.is_empty();
    // The statement's process has written the rows; what it does not know is added behind them.
    let end = match format {
        Format::Json => json_end(&sources, &missing),
        Format::Ndjson | Format::Csv | Format::Arrow => Vec::new(),
    };
    let end = stream::once(async { Ok(Bytes::from(end)) });
    let rows = stream::unfold(result, async |mut result| {
        let chunk = result.next().await?;
        Some((chunk, result))
    });
    let body = Body::from_stream(rows.chain(end));
    Ok(reply(format, body, &sources, complete))
}

fn statement(body: std::result::Result<Bytes, BytesRejection>) -> Result<String> {
    let body = body.map_err(|_| {
        let detail =
            format!("a statement has at most {MAX_STATEMENT_BYTES} bytes; make it shorter");
        QueryError::refused(StatusCode::PAYLOAD_TOO_LARGE, "statement_too_large", detail)
    })?;
    let invalid = |detail| QueryError::bad_request("sql_invalid", detail);
    let sql = String::from_utf8(body.into())
        .map_err(|_| invalid("the body must be the statement as UTF-8 text"))?;
    if sql.trim_ascii_start().starts_with('{') {
        let detail = "the body is the statement itself, not JSON; send for example \
                      SELECT type, count(*) FROM events GROUP BY type";
        return Err(invalid(detail));
    }
    Ok(sql)
}

/// Parses `timeout=5s`; a bare number is seconds.
fn timeout(params: &mut Params, max: Duration) -> Result<Duration> {
    let Some(text) = params.text("timeout")? else {
        return Ok(max);
    };
    let seconds = || text.parse().ok().map(Duration::from_secs);
    let parsed = seconds().or_else(|| humantime::parse_duration(&text).ok());
    parsed
        .filter(|time| !time.is_zero() && *time <= max)
        .ok_or_else(|| {
            let max = humantime::format_duration(max);
            let detail = format!("timeout is {text:?}; it must be a duration up to {max}");
            QueryError::bad_request("invalid_parameter", detail)
        })
}

/// Returns the last members of the JSON answer.
fn json_end(sources: &BTreeSet<Source>, gaps: &[(PartitionId, Missing)]) -> Vec<u8> {
    let mut out = Vec::new();
    member(&mut out, "complete", &json!(gaps.is_empty()));
    let gaps = gaps.iter().flat_map(|(id, part)| missing(*id, part));
    member(&mut out, "missing", &json!(gaps.collect::<Vec<Value>>()));
    member(&mut out, "tiers", &json!(tiers(sources)));
    out.push(b'}');
    out
}
