//! The encodings of an answer, named by content type: JSON, NDJSON, CSV or an Arrow stream.

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
use serde_json::{Value, json};

/// Format of instants, always in UTC.
const TIMESTAMP_FORMAT: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";

/// Writes rows as the body of an answer of this content type. The JSON object stays open behind its rows.
///
/// # Errors
/// The format cannot represent a column, such as an interval in JSON, or `out` is full.
pub fn write(
    content_type: &str,
    schema: &SchemaRef,
    batches: &mut dyn Iterator<Item = RecordBatch>,
    out: &mut dyn Write,
) -> Result<(), ArrowError> {
    let media = content_type.split(';').next().unwrap_or_default();
    match media {
        "application/x-ndjson" => to_lines(StructMode::ObjectOnly, batches, out),
        "text/csv" => to_csv(schema, batches, out),
        "application/vnd.apache.arrow.stream" => to_arrow(schema, batches, out),
        _ => to_json(schema, batches, out),
    }
}

/// Writes `{"columns":[…],"rows":[…]`.
fn to_json(
    schema: &SchemaRef,
    batches: &mut dyn Iterator<Item = RecordBatch>,
    out: &mut dyn Write,
) -> Result<(), ArrowError> {
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
) -> Result<(), ArrowError> {
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
) -> Result<(), ArrowError> {
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
) -> Result<(), ArrowError> {
    let mut writer = StreamWriter::try_new(out, schema)?;
    for batch in batches {
        writer.write(&batch)?;
    }
    writer.finish()
}
