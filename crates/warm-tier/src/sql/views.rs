//! The tables that a statement sees, as views over slices and loaded rows. Pure; every value is quoted here.

use std::{collections::BTreeMap, path::PathBuf};

use arrow::datatypes::{DataType, Schema, TimeUnit};

use super::{Columns, SliceRows, SqlError, Table, TableSources};
use crate::engine::text;

/// The table with the loaded rows of `table`.
pub(super) fn rows_name(table: Table) -> String {
    format!("{}_rows", table.name())
}

/// The statement that creates it.
pub(super) fn rows_table(table: Table, schema: &Schema) -> Result<String, SqlError> {
    let columns = schema.fields().iter().map(|field| {
        let data_type = sql_type(field.data_type())?;
        Ok(format!("{} {data_type}", quoted(field.name())))
    });
    let columns = columns.collect::<Result<Vec<_>, SqlError>>()?;
    let name = rows_name(table);
    Ok(format!("CREATE TABLE {name} ({})", columns.join(", ")))
}

/// The rows of all sources, in the columns of `schema`. A slice that is not attached has none.
fn all_rows(
    sources: &TableSources,
    schema: &Schema,
    attached: &BTreeMap<PathBuf, String>,
) -> String {
    let names = schema.fields().iter().map(|field| field.name());
    let columns = names.clone().map(|name| quoted(name)).collect::<Vec<_>>();
    let loaded = format!(
        "SELECT {} FROM {}",
        columns.join(", "),
        rows_name(sources.table)
    );
    let columns = names.map(|name| match name.as_str() {
        // An enumeration in slices of an earlier version.
        "type" => "type::VARCHAR AS type".to_owned(),
        name => quoted(name),
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    let table = sources.table.name();
    let tenant = text(&sources.tenant);
    let slices = sources.slices.iter().filter_map(|slice| {
        let alias = attached.get(&slice.path)?;
        let within = within(slice);
        Some(format!(
            "SELECT {columns} FROM {alias}.{table} WHERE tenant = {tenant}{within}"
        ))
    });
    let all: Vec<_> = slices.chain([loaded]).collect();
    format!("({})", all.join(" UNION ALL "))
}

/// The condition for the ranges of `slice`.
fn within(slice: &SliceRows) -> String {
    let ranges = slice.ranges.iter();
    let ranges = ranges.map(|range| format!("seq BETWEEN {} AND {}", range.lo, range.hi));
    let ranges: Vec<_> = ranges.collect();
    match ranges.is_empty() {
        true => String::new(),
        false => format!(" AND ({})", ranges.join(" OR ")),
    }
}

fn sql_type(data_type: &DataType) -> Result<&'static str, SqlError> {
    match data_type {
        DataType::Utf8 => Ok("VARCHAR"),
        DataType::Int32 => Ok("INTEGER"),
        DataType::Int64 => Ok("BIGINT"),
        DataType::Float64 => Ok("DOUBLE"),
        DataType::Timestamp(TimeUnit::Microsecond, None) => Ok("TIMESTAMP"),
        other => Err(SqlError::Engine(format!("no table column for {other}"))),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The statement that creates the view that user SQL reads.
pub(super) fn view(
    sources: &TableSources,
    schema: &Schema,
    attached: &BTreeMap<PathBuf, String>,
) -> String {
    let (name, rows) = (sources.table.name(), all_rows(sources, schema, attached));
    match sources.table {
        Table::Events => format!(
            "CREATE VIEW {name} AS SELECT {} FROM {rows}",
            visible_columns(schema)
        ),
        Table::HourlyStats => format!(
            "CREATE VIEW {name} AS SELECT hour, type, sum(events)::BIGINT AS events, \
             sum(bytes)::BIGINT AS bytes FROM {rows} GROUP BY hour, type"
        ),
        Table::ConversationSummary => format!(
            "CREATE VIEW {name} AS SELECT conversation_id, sum(events)::BIGINT AS events, \
             sum(bytes)::BIGINT AS bytes, min(first_timestamp) AS first_timestamp, \
             max(last_timestamp) AS last_timestamp, arg_min(start_timestamp, \
             (generation, epoch, start_seq, start_idx)) AS start_timestamp, \
             max(last_seq) AS last_seq, sum(errors)::BIGINT AS errors \
             FROM {rows} GROUP BY conversation_id"
        ),
    }
}

/// Metadata that JSON functions read: text that is no JSON for DuckDB, though it was for the parser that
/// accepted it, becomes a JSON string, so that one row of many does not fail the statement.
const READABLE_METADATA: &str = "CASE WHEN metadata IS NULL OR json_valid(metadata) THEN metadata \
     WHEN metadata <> '' THEN to_json(metadata)::VARCHAR END AS metadata";

/// The columns of the view: `position` in its usual text form, then the loaded columns.
fn visible_columns(schema: &Schema) -> String {
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let position = Columns::POSITION_PARTS
        .iter()
        .all(|part| names.contains(part))
        .then(|| {
            "printf('%04d-%04d-%04d-%020d-%04d', generation, \"partition\", epoch, seq, idx) \
             AS position"
                .to_owned()
        });
    let columns = names.iter().map(|name| match *name {
        "metadata" => READABLE_METADATA.to_owned(),
        name => quoted(name),
    });
    position
        .into_iter()
        .chain(columns)
        .collect::<Vec<_>>()
        .join(", ")
}
