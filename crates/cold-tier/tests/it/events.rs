//! Generated events and the pending files made of them.

use std::sync::Arc;

use arrow::array::{Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use cold_tier::{DayOf, PendingFile, Table};
use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, PartitionId, Position, SeqRange,
    StoredEvent, TenantId, Timestamp,
};
use event_proto::EncodedEvent;
use retention::Class;

pub(crate) const PARTITION: PartitionId = PartitionId::first(7);

pub(crate) fn class() -> Class {
    "w604800000-cforever".parse().unwrap()
}

/// Two events per sequence, of four conversations.
pub(crate) fn event(seq: u64, idx: u16) -> StoredEvent {
    let number = seq * 2 + u64::from(idx);
    let event = Event {
        event_id: EventId::from_u128(u128::from(number)),
        tenant: TenantId::new("acme").unwrap(),
        conversation_id: ConversationId::new(&format!("run/{}", number % 4)).unwrap(),
        task_id: None,
        event_type: EventType::new("output.chunk").unwrap(),
        timestamp: Timestamp::from_micros(1_795_000_000_000_001 + i64::try_from(number).unwrap()),
        content: format!("chunk {number}"),
        content_encoding: ContentEncoding::Utf8,
        metadata: String::new(),
        correlation_id: None,
        trace_id: None,
        span_id: None,
    };
    StoredEvent {
        crc32c: EncodedEvent::encode(&event).crc32c,
        event,
        position: Position::new(PARTITION, seq, idx),
        received_at: Timestamp::from_micros(1_795_000_001_000_000 + i64::try_from(seq).unwrap()),
        sample_rate: 1.0,
    }
}

pub(crate) fn events(range: SeqRange) -> Vec<StoredEvent> {
    let seqs = range.lo..=range.hi;
    seqs.flat_map(|seq| [event(seq, 0), event(seq, 1)])
        .collect()
}

/// The pending file of `range`, its rows in reverse order.
pub(crate) fn pending(range: SeqRange) -> PendingFile {
    let mut rows = events(range);
    rows.reverse();
    PendingFile {
        table: Table::Events,
        tenant: Some(TenantId::new("acme").unwrap()),
        dt: Some(DayOf::ReceivedAt.day(&rows[0])),
        received_max: rows[0].received_at,
        rows: segment::encode(&rows),
        class: Some(class()),
        ranges: vec![(PARTITION, range)],
        sampled: None,
    }
}

pub(crate) fn pending_hourly_stats(range: SeqRange) -> PendingFile {
    let long = |value: u64| Arc::new(Int64Array::from(vec![i64::try_from(value).unwrap()]));
    let int = |value: i32| Arc::new(Int32Array::from(vec![value]));
    let text = |value: &str| Arc::new(StringArray::from(vec![value]));
    let rows = RecordBatch::try_new(
        Table::HourlyStats.schema(),
        vec![
            text("acme"),
            Arc::new(TimestampMicrosecondArray::from(vec![1_794_999_600_000_000])),
            text("output.chunk"),
            long((range.hi - range.lo + 1) * 2),
            long(100),
            int(1),
            int(7),
            int(1),
            long(range.lo),
            long(range.hi),
        ],
    );
    PendingFile {
        table: Table::HourlyStats,
        tenant: None,
        dt: None,
        rows: rows.unwrap(),
        class: None,
        ranges: vec![(PARTITION, range)],
        sampled: None,
        received_max: Timestamp::from_micros(0),
    }
}
