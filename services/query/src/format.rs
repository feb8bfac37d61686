//! Formats of an answer, chosen by `Accept`: JSON, NDJSON, CSV or an Arrow stream.

use std::io::Write;

use arrow::{
    csv,
    datatypes::SchemaRef,
    error::ArrowError,
    ipc::writer::StreamWriter,
    json::{
        self, StructMode,
        writer::{JsonArray, LineDelimited},
    },
    record_batch::RecordBatch,
};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use warm_tier::sql::EncodeError;

use crate::error::{QueryError, Result};

/// Format of instants, always in UTC.
const TIMESTAMP_FORMAT: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";

/// Format of the body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Ndjson,
    Csv,
    Arrow,
}

impl Format {
    /// Returns the format of the first type in `Accept` that is supported; JSON without the header.
    pub(crate) fn accepted(headers: &HeaderMap) -> Result<Self> {
        let mut has_accept = false;
        for value in headers.get_all(header::ACCEPT) {
            let value = value.to_str().unwrap_or_default();
            for part in value.split(',') {
                has_accept = true;
                let media = part.split(';').next().unwrap_or_default().trim();
                match media.to_ascii_lowercase().as_str() {
                    "application/json" | "application/*" | "*/*" | "" => return Ok(Self::Json),
                    "application/x-ndjson" | "application/ndjson" => return Ok(Self::Ndjson),
                    "text/csv" | "text/*" => return Ok(Self::Csv),
                    "application/vnd.apache.arrow.stream" => return Ok(Self::Arrow),
                    _ => {}
                }
            }
        }
        if !has_accept {
            return Ok(Self::Json);
        }
        Err(QueryError::refused(
            StatusCode::NOT_ACCEPTABLE,
            "not_acceptable",
            "supported are application/json, application/x-ndjson, text/csv and \
             application/vnd.apache.arrow.stream",
        ))
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// Writes the rows of a statement's answer as the body of this content type. The JSON object stays open
/// behind its rows.
///
/// # Errors
///
/// The format cannot represent a column, such as an interval in JSON, or `out` is full.
pub(crate) fn encode(
    content_type: &str,
    schema: &SchemaRef,
    batches: &mut dyn Iterator<Item = RecordBatch>,
    out: &mut dyn Write,
) -> std::result::Result<(), EncodeError> {
    let formats = [Format::Json, Format::Ndjson, Format::Csv, Format::Arrow];
    let format = formats
        .into_iter()
        .find(|own| own.content_type() == content_type);
    match format.unwrap_or(Format::Json) {
        Format::Json => to_json(schema, batches, out)?,
        Format::Ndjson => to_lines(StructMode::ObjectOnly, batches, out)?,
        Format::Csv => to_csv(schema, batches, out)?,
        Format::Arrow => to_arrow(schema, batches, out)?,
    }
    Ok(())
}

/// Writes `{"columns":[…],"rows":[…]`.
fn to_json(
    schema: &SchemaRef,
    batches: &mut dyn Iterator<Item = RecordBatch>,
    out: &mut dyn Write,
) -> std::result::Result<(), ArrowError> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| json!({"name": field.name(), "type": field.data_type().to_string()}));
    let columns: Value = columns.collect();
    write!(out, "{{\"columns\":{columns},\"rows\":")?;
    let mut writer = json_writer(StructMode::ListOnly).build::<_, JsonArray>(out);
    for batch in batches {
        writer.write(&batch)?;
    }
    writer.finish()
}

/// Writes one JSON value per row and line.
fn to_lines(
    mode: StructMode,
    batches: &mut dyn Iterator<Item = RecordBatch>,
    out: &mut dyn Write,
) -> std::result::Result<(), ArrowError> {
    let mut writer = json_writer(mode).build::<_, LineDelimited>(out);
    for batch in batches {
        writer.write(&batch)?;
    }
    writer.finish()
}

fn json_writer(mode: StructMode) -> json::WriterBuilder {
    json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_struct_mode(mode)
        .with_timestamp_format(TIMESTAMP_FORMAT.to_owned())
}

fn to_csv(
    schema: &SchemaRef,
    batches: &mut dyn Iterator<Item = RecordBatch>,
    out: &mut dyn Write,
) -> std::result::Result<(), ArrowError> {
    let builder = csv::WriterBuilder::new().with_timestamp_format(TIMESTAMP_FORMAT.to_owned());
    let mut writer = builder.build(out);
    // An empty batch writes the header when there are no rows at all.
    writer.write(&RecordBatch::new_empty(SchemaRef::clone(schema)))?;
    for batch in batches {
        writer.write(&batch)?;
    }
    Ok(())
}

fn to_arrow(
    schema: &SchemaRef,
    batches: &mut dyn Iterator<Item = RecordBatch>,
    out: &mut dyn Write,
) -> std::result::Result<(), ArrowError> {
    let mut writer = StreamWriter::try_new(out, schema)?;
    for batch in batches {
        writer.write(&batch)?;
    }
    writer.finish()
}

/// Replaces line ends, which a producer's metadata may have between its members, by blanks: the same
/// JSON on one line.
pub(crate) fn join_lines(json: &mut [u8]) {
    for byte in json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn accepted(value: &'static str) -> Result<Format> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(value));
        Format::accepted(&headers)
    }

    #[test]
    fn the_first_supported_type_is_chosen() {
        assert_eq!(Format::accepted(&HeaderMap::new()).unwrap(), Format::Json);
        assert_eq!(accepted("*/*").unwrap(), Format::Json);
        assert_eq!(accepted("application/x-ndjson").unwrap(), Format::Ndjson);
        assert_eq!(
            accepted("text/html, text/csv;q=0.9, */*").unwrap(),
            Format::Csv
        );
        assert!(accepted("image/png").is_err());
    }
}
