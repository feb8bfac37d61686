//! Encoding: events to a record batch.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    },
    error::ArrowError,
};
use event::{ContentEncoding, StoredEvent, Timestamp};

use crate::schema::events_schema;

/// Encodes `events` as a record batch of [`events_schema`], one row per event, in their order.
///
/// # Panics
/// If the texts of one column exceed 2 GiB in total; callers bound their batches far below.
#[must_use]
pub fn encode(events: &[StoredEvent]) -> RecordBatch {
    let columns = [content_columns(events), position_columns(events)].concat();
    let batch: Result<RecordBatch, ArrowError> = RecordBatch::try_new(events_schema(), columns);
    batch.expect("the columns are built in the order and types of the schema")
}

/// The columns `tenant` to `span_id`.
fn content_columns(events: &[StoredEvent]) -> Vec<ArrayRef> {
    vec![
        text(events, |e| e.event.tenant.as_str()),
        text(events, |e| e.event.conversation_id.as_str()),
        text(events, |e| e.event.event_id.to_string()),
        optional(events, |e| e.event.task_id.as_deref()),
        text(events, |e| e.event.event_type.as_str()),
        time(events, |e| e.event.timestamp),
        time(events, |e| e.received_at),
        text(events, |e| e.event.content.as_str()),
        optional(events, |e| match e.event.content_encoding {
            ContentEncoding::Utf8 => None,
            ContentEncoding::Base64 => Some("base64"),
        }),
        long(events, |e| e.event.content.len() as u64),
        optional(events, |e| {
            Some(e.event.metadata.as_str()).filter(|metadata| !metadata.is_empty())
        }),
        optional(events, |e| e.event.correlation_id.as_deref()),
        optional(events, |e| e.event.trace_id.as_deref()),
        optional(events, |e| e.event.span_id.as_deref()),
    ]
}

/// The columns `generation` to `sample_rate`.
fn position_columns(events: &[StoredEvent]) -> Vec<ArrayRef> {
    let rates = events.iter().map(|e| e.sample_rate);
    vec![
        int(events, |e| e.position.partition.generation),
        int(events, |e| e.position.partition.partition),
        int(events, |e| e.position.partition.epoch),
        long(events, |e| e.position.seq),
        int(events, |e| e.position.idx),
        long(events, |e| e.crc32c.into()),
        Arc::new(Float64Array::from_iter_values(rates)),
    ]
}

fn text<'a, T: AsRef<str>>(
    events: &'a [StoredEvent],
    value: impl Fn(&'a StoredEvent) -> T,
) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(events.iter().map(value)))
}

fn optional<'a>(
    events: &'a [StoredEvent],
    value: impl Fn(&'a StoredEvent) -> Option<&'a str>,
) -> ArrayRef {
    Arc::new(events.iter().map(value).collect::<StringArray>())
}

fn time(events: &[StoredEvent], value: impl Fn(&StoredEvent) -> Timestamp) -> ArrayRef {
    let micros = events.iter().map(|event| value(event).as_micros());
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros))
}

fn int(events: &[StoredEvent], value: impl Fn(&StoredEvent) -> u16) -> ArrayRef {
    let values = events.iter().map(|event| i32::from(value(event)));
    Arc::new(Int32Array::from_iter_values(values))
}

/// Panics on a value of 2^63 or more. Sequences and lengths are far below; as a negative number such a
/// value would sort wrongly in every tier.
fn long(events: &[StoredEvent], value: impl Fn(&StoredEvent) -> u64) -> ArrayRef {
    let values = events
        .iter()
        .map(|event| i64::try_from(value(event)).expect("sequences stay below 2^63"));
    Arc::new(Int64Array::from_iter_values(values))
}
