//! The Arrow schemas, version 1. Columns may be added at the end; nothing else may change.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// Microseconds since 1970 UTC, without a zone; Parquet files have them as UTC-adjusted.
const MICROS_TYPE: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// The most types of one tenant and hour that have totals of their own in `hourly_stats`, per range and
/// in an answer. Deployments have tens; more come from types with an id in them. At 128 bytes a type, an
/// hour then takes about 200 KB.
pub const MAX_HOURLY_TYPES: usize = 1000;

/// The `type` in `hourly_stats` of all events beyond [`MAX_HOURLY_TYPES`], so that the sums stay exact.
/// No event has it: a type has no parentheses.
pub const OTHER_TYPES: &str = "(other)";

static EVENTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema([
        ("tenant", DataType::Utf8, false),
        ("conversation_id", DataType::Utf8, false),
        ("event_id", DataType::Utf8, false),
        ("task_id", DataType::Utf8, true),
        ("type", DataType::Utf8, false),
        ("timestamp", MICROS_TYPE, false),
        ("received_at", MICROS_TYPE, false),
        ("content", DataType::Utf8, false),
        ("content_encoding", DataType::Utf8, true),
        ("content_len", DataType::Int64, false),
        ("metadata", DataType::Utf8, true),
        ("correlation_id", DataType::Utf8, true),
        ("trace_id", DataType::Utf8, true),
        ("span_id", DataType::Utf8, true),
        ("generation", DataType::Int32, false),
        ("partition", DataType::Int32, false),
        ("epoch", DataType::Int32, false),
        ("seq", DataType::Int64, false),
        ("idx", DataType::Int32, false),
        ("crc32c", DataType::Int64, false),
        ("sample_rate", DataType::Float64, false),
    ])
});

static HOURLY_STATS: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema([
        ("tenant", DataType::Utf8, false),
        ("hour", MICROS_TYPE, false),
        ("type", DataType::Utf8, false),
        ("events", DataType::Int64, false),
        ("bytes", DataType::Int64, false),
        ("generation", DataType::Int32, false),
        ("partition", DataType::Int32, false),
        ("epoch", DataType::Int32, false),
        ("seq_lo", DataType::Int64, false),
        ("seq_hi", DataType::Int64, false),
    ])
});

static CONVERSATION_SUMMARY: LazyLock<SchemaRef> = LazyLock::new(|| {
    schema([
        ("tenant", DataType::Utf8, false),
        ("conversation_id", DataType::Utf8, false),
        ("events", DataType::Int64, false),
        ("bytes", DataType::Int64, false),
        ("first_timestamp", MICROS_TYPE, false),
        ("last_timestamp", MICROS_TYPE, false),
        ("start_timestamp", MICROS_TYPE, false),
        ("start_seq", DataType::Int64, false),
        ("start_idx", DataType::Int32, false),
        ("last_seq", DataType::Int64, false),
        ("errors", DataType::Int64, false),
        ("generation", DataType::Int32, false),
        ("partition", DataType::Int32, false),
        ("epoch", DataType::Int32, false),
        ("seq_lo", DataType::Int64, false),
        ("seq_hi", DataType::Int64, false),
    ])
});

fn schema<const N: usize>(fields: [(&str, DataType, bool); N]) -> SchemaRef {
    let fields = fields.map(|(name, data_type, nullable)| Field::new(name, data_type, nullable));
    Arc::new(Schema::new(fields.to_vec()))
}

/// The schema of `events`: one row per event. `content_len` is the length of `content` in bytes, as
/// it is stored.
#[must_use]
pub fn events_schema() -> SchemaRef {
    Arc::clone(&EVENTS)
}

/// The schema of `hourly_stats`: one row per (tenant, hour of `timestamp`, type) and range of
/// sequences. The totals are the sums over the ranges. Of more than [`MAX_HOURLY_TYPES`] types those
/// with the fewest events, then those last by name, are one row of type [`OTHER_TYPES`].
#[must_use]
pub fn hourly_stats_schema() -> SchemaRef {
    Arc::clone(&HOURLY_STATS)
}

/// The schema of `conversation_summary`: one row per (tenant, conversation) and range of sequences.
/// The totals are sums, minima and maxima over the ranges; the start is that of the least position.
#[must_use]
pub fn conversation_summary_schema() -> SchemaRef {
    Arc::clone(&CONVERSATION_SUMMARY)
}
