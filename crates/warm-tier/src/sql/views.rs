//! The tables that a statement sees, as views over slices and loaded rows. Pure; every value is quoted here.

use std::{collections::BTreeMap, path::PathBuf};

use arrow::datatypes::Schema;

use event::SeqRange;

use super::{Columns, Table, TableSources, rows::TableRows};
use crate::engine::text;

/// The rows of all sources, in the columns of `schema`. A slice that is not attached has none.
fn all_rows(
    sources: &TableSources,
    schema: &Schema,
    rows: &TableRows,
    attached: &BTreeMap<PathBuf, String>,
) -> String {
    let names = schema.fields().iter().map(|field| field.name());
    let columns = names.clone().map(|name| quoted(name)).collect::<Vec<_>>();
    let plain = columns.join(", ");
    let loaded = format!("SELECT {plain} FROM {}", rows.loaded.sql());
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
        let within = within(&slice.ranges);
        Some(format!(
            "SELECT {columns} FROM {alias}.{table} WHERE tenant = {tenant}{within}"
        ))
    });
    let runs = sources.runs.iter().zip(&rows.runs).map(|(runs, relation)| {
        let (relation, within) = (relation.sql(), within(&runs.ranges));
        format!("SELECT {plain} FROM {relation} WHERE tenant = {tenant}{within}")
    });
    let all: Vec<_> = slices.chain(runs).chain([loaded]).collect();
    format!("({})", all.join(" UNION ALL "))
}

/// The condition for `ranges`; none without any.
fn within(ranges: &[SeqRange]) -> String {
    let ranges = ranges.iter();
    let ranges = ranges.map(|range| format!("seq BETWEEN {} AND {}", range.lo, range.hi));
    let ranges: Vec<_> = ranges.collect();
    match ranges.is_empty() {
        true => String::new(),
        false => format!(" AND ({})", ranges.join(" OR ")),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The statement that creates the view that user SQL reads, over the slices and `rows`.
pub(super) fn view(
    sources: &TableSources,
    schema: &Schema,
    rows: &TableRows,
    attached: &BTreeMap<PathBuf, String>,
) -> String {
    let (name, all) = (
        sources.table.name(),
        all_rows(sources, schema, rows, attached),
    );
    match sources.table {
        Table::Events => format!(
            "CREATE VIEW {name} AS SELECT {} FROM {all}",
            visible_columns(schema)
        ),
        Table::HourlyStats => format!(
            "CREATE VIEW {name} AS SELECT hour, type, sum(events)::BIGINT AS events, \
             sum(bytes)::BIGINT AS bytes FROM {all} GROUP BY hour, type"
        ),
        Table::ConversationSummary => format!(
            "CREATE VIEW {name} AS SELECT conversation_id, sum(events)::BIGINT AS events, \
             sum(bytes)::BIGINT AS bytes, min(first_timestamp) AS first_timestamp, \
             max(last_timestamp) AS last_timestamp, arg_min(start_timestamp, \
             (generation, epoch, start_seq, start_idx)) AS start_timestamp, \
             max(last_seq) AS last_seq, sum(errors)::BIGINT AS errors \
             FROM {all} GROUP BY conversation_id"
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
