//! `GET /v1/conversations/{id}/events`.
//!
//! A conversation without events is an empty list, not an error: an unknown one, one that is not
//! written yet and one that has expired look the same, and a client that polls for the first event
//! need not distinguish them.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use axum::{
    extract::{Path, RawQuery, State},
    http::{HeaderMap, HeaderValue},
    response::Response,
};
use event::{ConversationId, Position, StoredEvent, TenantId};
use event_proto::json;
use serde_json::json;

use super::reply::{NEXT, member, missing, reply};
use crate::{
    error::{QueryError, Result},
    format::{self, Format},
    memory::{encoded_bytes, held},
    params::{Params, offset_in},
    read::Page,
    rows::ReadRequest,
    service::Shared,
};

pub(super) async fn read(
    State(service): State<Shared>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response> {
    let format = Format::accepted(&headers)?;
    let mut params = Params::parse(query.as_deref());
    let limit = params.limit()?;
    let request = read_request(&service, &id, &mut params)?;
    params.end()?;
    let partition = request.partition;
    let (mut page, memory) = service
        .bounded(service.sources.read_page(request, limit))
        .await?;
    let gaps = page.gaps();
    let body = match format {
        Format::Json => to_json(
            &page,
            &missing(partition, &gaps),
            |last| json!({ partition.to_string(): last }),
        ),
        Format::Ndjson => to_lines(&page.rows),
        Format::Csv | Format::Arrow => to_columns(&page.rows, format)?,
    };
    drop(std::mem::take(&mut page.rows));
    let body = held(body, memory);
    let mut response = reply(format, body, &page.sources, gaps.is_empty());
    if let Some(next) = page.next {
        let next = HeaderValue::from_str(&next.to_string());
        response
            .headers_mut()
            .insert(NEXT, next.expect("a position is ASCII"));
    }
    Ok(response)
}

/// Parses everything but the limit.
pub(super) fn read_request(service: &Shared, id: &str, params: &mut Params) -> Result<ReadRequest> {
    let conversation = ConversationId::new(id)?;
    let tenant = TenantId::default_tenant();
    let partition = service.partitions.partition_of(&tenant, &conversation);
    let offset = |position: Option<Position>| {
        position
            .map(|position| offset_in(partition, position))
            .transpose()
    };
    Ok(ReadRequest {
        after: offset(params.value("after")?)?,
        before: offset(params.value("before")?)?,
        order: params.order()?,
        types: params.types(),
        tenant,
        conversation,
        partition,
    })
}

fn to_json(
    page: &Page,
    missing: &[serde_json::Value],
    watermark: impl Fn(u64) -> serde_json::Value,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(answer_bytes(&page.rows));
    out.extend_from_slice(b"{\"events\":[");
    for (index, row) in page.rows.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::write(row, &mut out);
    }
    out.push(b']');
    member(
        &mut out,
        "next",
        &json!(page.next.map(|next| next.to_string())),
    );
    member(&mut out, "complete", &json!(missing.is_empty()));
    member(&mut out, "missing", &json!(missing));
    member(
        &mut out,
        "watermark",
        &page.log_last.map_or(json!({}), watermark),
    );
    out.push(b'}');
    out
}

fn to_lines(rows: &[StoredEvent]) -> Vec<u8> {
    let mut out = Vec::with_capacity(answer_bytes(rows));
    for row in rows {
        let start = out.len();
        json::write(row, &mut out);
        format::join_lines(&mut out[start..]);
        out.push(b'\n');
    }
    out
}

/// Bytes of an answer with `rows`, at most, so that it never moves as it grows.
fn answer_bytes(rows: &[StoredEvent]) -> usize {
    rows.iter().map(encoded_bytes).sum::<usize>()
}

/// Writes the rows as the columns of SQL: `position`, then those of the events table.
fn to_columns(rows: &[StoredEvent], format: Format) -> Result<Vec<u8>> {
    let batch = with_position(rows).map_err(anyhow::Error::from)?;
    let mut out = Vec::new();
    let mut batches = std::iter::once(batch.clone());
    let written = segment::encoding::write(
        format.content_type(),
        &batch.schema(),
        &mut batches,
        &mut out,
    );
    written.map_err(|error| QueryError::Internal(error.into()))?;
    Ok(out)
}

fn with_position(
    rows: &[StoredEvent],
) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
    let batch = segment::encode(rows);
    let positions = rows.iter().map(|row| row.position.to_string());
    let positions: ArrayRef = Arc::new(StringArray::from_iter_values(positions));
    let schema_without = batch.schema();
    let position = Arc::new(Field::new("position", DataType::Utf8, false));
    let fields = std::iter::once(position).chain(schema_without.fields().iter().cloned());
    let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns = std::iter::once(positions).chain(batch.columns().iter().cloned());
    RecordBatch::try_new(schema, columns.collect())
}
