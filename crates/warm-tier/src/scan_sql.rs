//! Builds the SQL of a scan. Pure; every value is quoted here.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use event::{Seq, SeqRange};

use crate::{
    engine::text,
    error::{Error, Result},
    manifest::Slice,
    scan_parts::Part,
    scan_request::{Order, Scan, Table},
    schema,
};

/// An attached slice.
pub(crate) struct SliceSource<'a> {
    pub slice: &'a Slice,
    pub alias: &'a str,
    /// The first and last row id of the rows, when they are known from the index.
    pub rows: Option<(i64, i64)>,
}

/// The columns of [`lengths`]: the key of a row, and the bytes of its long values.
pub(crate) const LENGTH_COLUMNS: [&str; 3] = ["major", "minor", "bytes"];

/// The schema of the result: that of the table, or of the selected columns.
pub(crate) fn schema(scan: &Scan) -> Result<SchemaRef> {
    let whole = scan.table.schema();
    let Some(columns) = &scan.columns else {
        return Ok(whole);
    };
    let fields = columns.iter().map(|name| {
        let field = whole.field_with_name(name);
        field
            .cloned()
            .map_err(|_| Error::Invalid(format!("there is no column {name:?}")))
    });
    let fields = fields.collect::<Result<Vec<_>>>()?;
    if fields.is_empty() {
        return Err(Error::Invalid("a scan needs a column".to_owned()));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Returns whether `slice` may have rows of the result, by the manifest alone.
pub(crate) fn may_have_rows(scan: &Scan, slice: &Slice) -> bool {
    let filter = &scan.filter;
    let overlaps = |range: &SeqRange| range.intersect(&slice.range()).is_some();
    let of_class = scan.class.is_none_or(|class| class == slice.class);
    let after = filter.after.is_none_or(|(seq, _)| slice.hi >= seq);
    let before = filter.before.is_none_or(|(seq, _)| slice.lo <= seq);
    let received = filter
        .received_after
        .is_none_or(|after| slice.received_max() > after);
    let rows = scan.table != Table::Events || (after && before && received);
    of_class && rows && scan.ranges.iter().any(overlaps)
}

/// The statement that looks a conversation up in the slice's index; `None` when the scan is not of
/// one conversation.
pub(crate) fn conversation_rows(scan: &Scan, alias: &str) -> Option<String> {
    let tenant = text(scan.filter.tenant.as_ref()?);
    let conversation = text(scan.filter.conversation_id.as_ref()?);
    (scan.table == Table::Events).then(|| {
        format!(
            "SELECT first_row, last_row, rows FROM {alias}.conversation_rows \
             WHERE tenant = {tenant} AND conversation_id = {conversation}"
        )
    })
}

/// Selects the rows of one slice with all columns, or those of one part.
pub(crate) fn select(scan: &Scan, source: &SliceSource<'_>, part: Option<&Part>) -> String {
    if scan.table != Table::Events {
        return rollups(scan, source);
    }
    let columns = schema::COLUMNS.replace(" type,", " type::VARCHAR AS type,");
    let part = part.map(|part| within_part(scan.order, part));
    let conditions = conditions(scan, source).into_iter().chain(part);
    format!(
        "SELECT {columns} FROM {}.events WHERE {}",
        source.alias,
        conditions.collect::<Vec<_>>().join(" AND ")
    )
}

/// The statement that reads the keys and lengths of the events of `scan` in `sources`, in the order of the scan.
pub(crate) fn lengths(scan: &Scan, sources: &[SliceSource<'_>]) -> String {
    let [major, minor, bytes] = LENGTH_COLUMNS;
    let key = match scan.order {
        Order::None => ("rowid", "0::BIGINT"),
        Order::Asc | Order::Desc => ("seq", "idx::BIGINT"),
    };
    let selects = sources.iter().map(|source| {
        format!(
            "SELECT {} AS {major}, {} AS {minor}, \
             content_len + coalesce(strlen(metadata), 0) AS {bytes} FROM {}.events WHERE {}",
            key.0,
            key.1,
            source.alias,
            conditions(scan, source).join(" AND ")
        )
    });
    let mut sql = selects.collect::<Vec<_>>().join(" UNION ALL ");
    match scan.order {
        Order::Asc => sql += &format!(" ORDER BY {major}, {minor}"),
        Order::Desc => sql += &format!(" ORDER BY {major} DESC, {minor} DESC"),
        Order::None => {}
    }
    if let Some(limit) = scan.limit {
        sql += &format!(" LIMIT {limit}");
    }
    sql
}

/// The conditions on the events of one slice.
fn conditions(scan: &Scan, source: &SliceSource<'_>) -> Vec<String> {
    let rows = source.rows.iter();
    let rows = rows.map(|(first, last)| format!("rowid BETWEEN {first} AND {last}"));
    let mut conditions = vec![within_ranges(scan, source.slice)];
    conditions.extend(rows);
    conditions.extend(identity(scan, "conversation_id"));
    conditions.extend(positions_and_times(scan));
    conditions
}

/// The condition that a row is in `part`.
fn within_part(order: Order, part: &Part) -> String {
    let (lo, hi) = match order {
        Order::None => return format!("rowid BETWEEN {} AND {}", part.first.0, part.last.0),
        Order::Asc => (part.first, part.last),
        Order::Desc => (part.last, part.first),
    };
    format!(
        "seq BETWEEN {} AND {} AND (seq > {0} OR idx >= {}) AND (seq < {1} OR idx <= {})",
        lo.0, hi.0, lo.1, hi.1
    )
}

/// Selects the slice's stored rollup rows when all of it is requested, else computes a rollup of the
/// requested rows.
fn rollups(scan: &Scan, source: &SliceSource<'_>) -> String {
    let SliceSource { slice, alias, .. } = source;
    let covers_slice = |range: &SeqRange| range.intersect(&slice.range()) == Some(slice.range());
    if scan.ranges.iter().any(covers_slice) {
        let table = match scan.table {
            Table::HourlyStats => "hourly_stats",
            _ => "conversation_summary",
        };
        return format!("SELECT * FROM {alias}.{table}");
    }
    let parts = scan
        .ranges
        .iter()
        .filter_map(|range| range.intersect(&slice.range()));
    let selects = parts.map(|part| {
        let rows = format!(
            "{alias}.events WHERE seq BETWEEN {} AND {}",
            part.lo, part.hi
        );
        match scan.table {
            Table::HourlyStats => schema::hourly_stats(&rows, scan.partition, part),
            _ => schema::conversation_summary(&rows, scan.partition, part),
        }
    });
    selects.collect::<Vec<_>>().join(" UNION ALL ")
}

/// The statement over the selects of one or many slices. Rollups are filtered here.
pub(crate) fn statement(
    scan: &Scan,
    schema: &SchemaRef,
    selects: &str,
    limit: Option<u64>,
) -> String {
    let columns: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let mut sql = format!("SELECT {} FROM ({selects}) AS rows", columns.join(", "));
    let conditions = match scan.table {
        Table::Events => Vec::new(),
        Table::HourlyStats => rollup_conditions(scan, None),
        Table::ConversationSummary => rollup_conditions(scan, Some("conversation_id")),
    };
    if !conditions.is_empty() {
        sql += &format!(" WHERE {}", conditions.join(" AND "));
    }
    let order = match scan.table {
        Table::Events => ["seq", "idx"].as_slice(),
        Table::HourlyStats => ["seq_lo", "tenant", "hour", "type"].as_slice(),
        Table::ConversationSummary => ["seq_lo", "tenant", "conversation_id"].as_slice(),
    };
    let by = |direction: &str| {
        let keys: Vec<_> = order
            .iter()
            .map(|key| format!("{key} {direction}"))
            .collect();
        format!(" ORDER BY {}", keys.join(", "))
    };
    match scan.order {
        Order::Asc => sql += &by("ASC"),
        Order::Desc => sql += &by("DESC"),
        Order::None => {}
    }
    if let Some(limit) = limit {
        sql += &format!(" LIMIT {limit}");
    }
    sql
}

fn rollup_conditions(scan: &Scan, conversation: Option<&str>) -> Vec<String> {
    match conversation {
        Some(column) => identity(scan, column),
        None => {
            let tenant = scan.filter.tenant.iter();
            let types = Some(&scan.filter.types).filter(|types| !types.is_empty());
            tenant
                .map(|tenant| format!("tenant = {}", text(tenant)))
                .chain(types.map(|types| schema::any_of("type", types)))
                .collect()
        }
    }
}

fn identity(scan: &Scan, conversation: &str) -> Vec<String> {
    let filter = &scan.filter;
    let tenant = filter
        .tenant
        .iter()
        .map(|tenant| format!("tenant = {}", text(tenant)));
    let id = filter.conversation_id.iter();
    tenant
        .chain(id.map(|id| format!("{conversation} = {}", text(id))))
        .collect()
}

/// The condition that a row is in the requested ranges; `true` when the whole slice is in one.
fn within_ranges(scan: &Scan, slice: &Slice) -> String {
    let parts: Vec<_> = scan
        .ranges
        .iter()
        .filter_map(|range| range.intersect(&slice.range()))
        .collect();
    if parts.contains(&slice.range()) {
        return "true".to_owned();
    }
    let parts: Vec<_> = parts
        .iter()
        .map(|part| format!("seq BETWEEN {} AND {}", part.lo, part.hi))
        .collect();
    format!("({})", parts.join(" OR "))
}

fn positions_and_times(scan: &Scan) -> Vec<String> {
    let filter = &scan.filter;
    let micros = |column: &str, sign: &str, time: event::Timestamp| {
        format!("{column} {sign} make_timestamp({})", time.as_micros())
    };
    let bound = |(seq, idx): (Seq, u16), sign: &str| {
        format!("(seq {sign} {seq} OR (seq = {seq} AND idx {sign} {idx}))")
    };
    let types = Some(&filter.types).filter(|types| !types.is_empty());
    [
        types.map(|types| schema::any_of("events.type::VARCHAR", types)),
        filter
            .timestamp_from
            .map(|from| micros("timestamp", ">=", from)),
        filter.timestamp_to.map(|to| micros("timestamp", "<", to)),
        filter
            .received_after
            .map(|after| micros("received_at", ">", after)),
        filter.after.map(|after| bound(after, ">")),
        filter.before.map(|before| bound(before, "<")),
    ]
    .into_iter()
    .flatten()
    .collect()
}
