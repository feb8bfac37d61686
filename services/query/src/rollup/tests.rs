use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, PartitionId, Position, StoredEvent,
    TenantId,
};

use super::*;
use crate::live_rows;

fn live_hours(rows: &[StoredEvent]) -> RecordBatch {
    let mut groups = live_rows::HourlyStats::new(TenantId::default_tenant());
    for row in rows {
        groups.add(row);
    }
    groups.into_batch().unwrap()
}

fn live_summaries(rows: &[StoredEvent]) -> RecordBatch {
    let mut groups = live_rows::ConversationSummaries::new(TenantId::default_tenant());
    for row in rows {
        groups.add(row);
    }
    groups.into_batch().unwrap()
}

fn row(conversation: &str, seq: u64, kind: &str, micros: i64, content: &str) -> StoredEvent {
    let event = Event {
        event_id: EventId::from_u128(seq.into()),
        tenant: TenantId::default_tenant(),
        conversation_id: ConversationId::new(conversation).unwrap(),
        task_id: None,
        event_type: EventType::new(kind).unwrap(),
        timestamp: Timestamp::from_micros(micros),
        content: content.to_owned(),
        content_encoding: ContentEncoding::Utf8,
        metadata: String::new(),
        correlation_id: None,
        trace_id: None,
        span_id: None,
    };
    StoredEvent {
        event,
        position: Position::new(PartitionId::first(0), seq, 0),
        received_at: Timestamp::from_micros(micros),
        crc32c: 0,
        sample_rate: 1.0,
    }
}

fn all() -> Vec<StoredEvent> {
    const HOUR: i64 = 3_600_000_000;
    vec![
        row("a", 1, "output.chunk", 50, "one"),
        row("a", 2, "error.tool", 20, "three"),
        row("b", 3, "output.chunk", HOUR + 1, ""),
        row("a", 4, "output.chunk", HOUR, "é"),
        row("b", 5, "errand", 7, "x"),
    ]
}

/// However the rows are cut into ranges, the sums are those of one full scan.
#[test]
fn rollups_of_disjoint_ranges_are_the_rollup_of_all() {
    let rows = all();
    let whole_hours = hourly_stats(&[live_hours(&rows)]);
    let whole = conversation_summaries(&[live_summaries(&rows)]);
    for cut in 0..=rows.len() {
        let (left, right) = rows.split_at(cut);
        // The later range first: the order of the answers must not matter.
        let parts = [right, left].map(live_hours);
        assert_eq!(hourly_stats(&parts), whole_hours, "cut at {cut}");
        let parts = [right, left].map(live_summaries);
        assert_eq!(conversation_summaries(&parts), whole, "cut at {cut}");
    }
}

#[test]
fn an_hour_has_a_bounded_number_of_types_and_exact_sums() {
    let limit = i64::try_from(MAX_HOURLY_TYPES).unwrap();
    // Five ranges, each with types of its own, and one type that all of them have.
    let ranges = (0..5_i64).map(|range| {
        let own = (0..limit).map(move |n| row("a", 1, &format!("own.{range}.{n}"), 0, "x"));
        let rows: Vec<_> = own.chain([row("a", 1, "output.chunk", 0, "x")]).collect();
        live_hours(&rows)
    });
    let hours = hourly_stats(&ranges.collect::<Vec<_>>());
    let sum = |kind: &str| hours[&(Timestamp::from_micros(0), kind.to_owned())];
    assert_eq!(hours.len(), MAX_HOURLY_TYPES + 1);
    assert_eq!(sum("output.chunk").events, 5);
    assert_eq!(sum("own.0.0").events, 1);
    assert_eq!(sum(OTHER_TYPES).events, 4 * limit + 1);
    let bytes: i64 = hours.values().map(|sums| sums.bytes).sum();
    assert_eq!(bytes, 5 * limit + 5);
}

#[test]
fn a_summary_has_the_totals_of_its_rows() {
    let rows = all();
    let whole = conversation_summaries(&[live_summaries(&rows)]);
    let a = &whole["a"];
    assert_eq!((a.events, a.bytes, a.errors, a.last_seq), (3, 10, 1, 4));
    // The start is the first by position, not the earliest.
    assert_eq!(a.start, Timestamp::from_micros(50));
    assert_eq!(a.first, Timestamp::from_micros(20));
    let b = &whole["b"];
    // `errand` begins with `err`, not with `error`.
    assert_eq!((b.events, b.errors), (2, 0));
}

#[test]
fn only_a_new_group_takes_memory() {
    let mut groups = live_rows::HourlyStats::new(TenantId::default_tenant());
    let taken: Vec<bool> = all().iter().map(|row| groups.add(row) > 0).collect();
    assert_eq!(taken, [true, true, true, false, true]);
}
