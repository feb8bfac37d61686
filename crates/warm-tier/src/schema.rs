//! The tables of a segment file, and the statements that compute the rollups. Pure.

use event::{PartitionId, SeqRange};
use segment::{MAX_HOURLY_TYPES, OTHER_TYPES};

use crate::engine::text;

/// The columns of `events` in the order of the Arrow schema.
pub(crate) const COLUMNS: &str = "tenant, conversation_id, event_id, task_id, type, timestamp, \
     received_at, content, content_encoding, content_len, metadata, correlation_id, trace_id, \
     span_id, generation, partition, epoch, seq, idx, crc32c, sample_rate";

const HOURLY_STATS: &str = "CREATE TABLE hourly_stats (tenant VARCHAR, hour TIMESTAMP, \
     type VARCHAR, events BIGINT, bytes BIGINT, generation INTEGER, partition INTEGER, \
     epoch INTEGER, seq_lo BIGINT, seq_hi BIGINT);";

const CONVERSATION_SUMMARY: &str = "CREATE TABLE conversation_summary (tenant VARCHAR, \
     conversation_id VARCHAR, events BIGINT, bytes BIGINT, first_timestamp TIMESTAMP, \
     last_timestamp TIMESTAMP, start_timestamp TIMESTAMP, start_seq BIGINT, start_idx INTEGER, \
     last_seq BIGINT, errors BIGINT, generation INTEGER, partition INTEGER, epoch INTEGER, \
     seq_lo BIGINT, seq_hi BIGINT);";

/// The columns of `events` with their types, in parentheses.
pub(crate) fn event_columns(type_column: &str, compression: &str) -> String {
    format!(
        "(tenant VARCHAR, conversation_id VARCHAR, event_id VARCHAR, \
         task_id VARCHAR, type {type_column}, timestamp TIMESTAMP, received_at TIMESTAMP, \
         content VARCHAR{compression}, content_encoding VARCHAR, content_len BIGINT, \
         metadata VARCHAR{compression}, correlation_id VARCHAR, trace_id VARCHAR, \
         span_id VARCHAR, generation INTEGER, partition INTEGER, epoch INTEGER, seq BIGINT, \
         idx INTEGER, crc32c BIGINT, sample_rate DOUBLE)"
    )
}

/// The statements that create the tables of a slice in the current database.
pub(crate) fn slice() -> String {
    let rows = "CREATE TABLE conversation_rows (tenant VARCHAR, conversation_id VARCHAR, \
                first_row BIGINT, last_row BIGINT, rows BIGINT);";
    let segment = "CREATE TABLE segment (version INTEGER, generation INTEGER, \
                   partition INTEGER, epoch INTEGER, lo BIGINT, hi BIGINT, class VARCHAR, \
                   level INTEGER, rows BIGINT, bytes BIGINT, sum_crc BIGINT, \
                   received_min TIMESTAMP, received_max TIMESTAMP);";
    let columns = event_columns("VARCHAR", " USING COMPRESSION zstd");
    let events = format!("CREATE TABLE events {columns};");
    [&events, HOURLY_STATS, CONVERSATION_SUMMARY, rows, segment].concat()
}

/// The statement that computes the hourly statistics of the rows that `source` selects, as rows of
/// `hourly_stats`: per tenant and hour [`MAX_HOURLY_TYPES`] types at most, and the rest as one.
pub(crate) fn hourly_stats(source: &str, partition: PartitionId, range: SeqRange) -> String {
    let provenance = provenance_columns(partition, range);
    let other = text(OTHER_TYPES);
    format!(
        "SELECT tenant, hour, type, sum(events)::BIGINT AS events, sum(bytes)::BIGINT AS bytes, \
         {provenance} FROM (SELECT tenant, hour, events, bytes, \
         CASE WHEN row_number() OVER (PARTITION BY tenant, hour ORDER BY events DESC, type) \
         <= {MAX_HOURLY_TYPES} THEN type ELSE {other} END AS type \
         FROM (SELECT tenant, date_trunc('hour', timestamp) AS hour, type::VARCHAR AS type, \
         count(*) AS events, sum(content_len)::BIGINT AS bytes \
         FROM {source} GROUP BY tenant, date_trunc('hour', timestamp), type::VARCHAR)) \
         GROUP BY tenant, hour, type"
    )
}

/// The statement that computes the summaries of the rows that `source` selects, as rows of
/// `conversation_summary`.
pub(crate) fn conversation_summary(
    source: &str,
    partition: PartitionId,
    range: SeqRange,
) -> String {
    let provenance = provenance_columns(partition, range);
    // A position as one number; a sequence stays far below 2^47.
    let position = "seq * 65536 + idx";
    format!(
        "SELECT tenant, conversation_id, count(*) AS events, sum(content_len)::BIGINT AS bytes, \
         min(timestamp) AS first_timestamp, max(timestamp) AS last_timestamp, \
         arg_min(timestamp, {position}) AS start_timestamp, min(seq) AS start_seq, \
         arg_min(idx, {position}) AS start_idx, max(seq) AS last_seq, \
         count(*) FILTER (type::VARCHAR LIKE 'error%') AS errors, {provenance} \
         FROM {source} GROUP BY tenant, conversation_id"
    )
}

fn provenance_columns(partition: PartitionId, range: SeqRange) -> String {
    let PartitionId {
        generation,
        partition,
        epoch,
    } = partition;
    let SeqRange { lo, hi } = range;
    format!(
        "{generation}::INTEGER AS generation, {partition}::INTEGER AS partition, \
         {epoch}::INTEGER AS epoch, {lo}::BIGINT AS seq_lo, {hi}::BIGINT AS seq_hi"
    )
}

/// The condition `column IN ('x', 'y')`.
pub(crate) fn any_of(column: &str, values: &[String]) -> String {
    let values: Vec<_> = values.iter().map(|value| text(value)).collect();
    format!("{column} IN ({})", values.join(", "))
}
