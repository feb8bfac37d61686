//! `POST /v1/sql`: the body is one SELECT.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest as _, RawQuery, Request, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use event::TenantId;
use serde_json::{Value, json};
use warm_tier::sql::Answer;

use super::reply::{member, missing, reply, tiers};
use crate::{
    error::{QueryError, Result},
    format::{self, Format},
    params::Params,
    service::Shared,
    sql::{MAX_STATEMENT_BYTES, SqlAnswer},
};

/// Longest time for the statement to arrive.
const BODY_READ_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn run(
    State(service): State<Shared>,
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
    let answer = service.run_sql(
        TenantId::default_tenant(),
        sql,
        max_bytes.unwrap_or(config.max_scan_bytes),
        timeout,
    );
    let answer = answer.await?;
    let body = match format {
        Format::Json => to_json(&answer)?,
        Format::Ndjson => format::to_ndjson(&answer.result.batches).map_err(unsupported_type)?,
        Format::Csv => format::to_csv(&answer.result.schema, &answer.result.batches)
            .map_err(unsupported_type)?,
        Format::Arrow => format::to_arrow(&answer.result.schema, &answer.result.batches)
            .map_err(unsupported_type)?,
    };
    Ok(reply(
        format,
        body,
        &answer.sources,
        answer.missing.is_empty(),
    ))
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

/// Refuses a type that the format cannot represent, such as an interval in JSON.
fn unsupported_type(error: arrow::error::ArrowError) -> QueryError {
    let detail = format!("this format cannot represent a column; cast it to VARCHAR: {error}");
    QueryError::bad_request("sql_invalid", detail)
}

fn to_json(answer: &SqlAnswer) -> Result<Vec<u8>> {
    let Answer { schema, batches } = &answer.result;
    let columns = schema
        .fields()
        .iter()
        .map(|field| json!({"name": field.name(), "type": field.data_type().to_string()}));
    let columns: Vec<Value> = columns.collect();
    let mut out = Vec::new();
    out.extend_from_slice(format!("{{\"columns\":{}", json!(columns)).as_bytes());
    out.extend_from_slice(b",\"rows\":[");
    let rows = format::to_rows(batches).map_err(unsupported_type)?;
    for (index, row) in rows
        .split(|byte| *byte == b'\n')
        .filter(|row| !row.is_empty())
        .enumerate()
    {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(row);
    }
    out.push(b']');
    member(&mut out, "complete", &json!(answer.missing.is_empty()));
    let missing: Vec<Value> = answer
        .missing
        .iter()
        .flat_map(|(id, part)| missing(*id, part))
        .collect();
    member(&mut out, "missing", &json!(missing));
    member(&mut out, "tiers", &json!(tiers(&answer.sources)));
    out.push(b'}');
    Ok(out)
}
