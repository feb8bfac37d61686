use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, PartitionId, Position, StoredEvent,
    TenantId, Timestamp,
};
use event_proto::EncodedEvent;

/// Event `n` of a fixed series: every optional field is present in some events and absent in others.
pub(crate) fn event(n: u64) -> StoredEvent {
    let some = |text: &str| (!n.is_multiple_of(3)).then(|| format!("{text}-{n}"));
    let event = Event {
        event_id: EventId::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n)),
        tenant: TenantId::new("acme").unwrap(),
        conversation_id: ConversationId::new(&format!("run-{:04}", n / 10)).unwrap(),
        task_id: some("task"),
        event_type: EventType::new(if n.is_multiple_of(7) {
            "error.tool"
        } else {
            "output.chunk"
        })
        .unwrap(),
        timestamp: Timestamp::from_micros(
            1_795_000_000_000_000 + 1_000 * i64::try_from(n).unwrap(),
        ),
        content: format!("chunk {n}: Grüße, \u{1f980}\n\"quoted\""),
        content_encoding: if n.is_multiple_of(5) {
            ContentEncoding::Base64
        } else {
            ContentEncoding::Utf8
        },
        metadata: if n.is_multiple_of(2) {
            format!("{{\"n\": {n},  \"nested\":{{\"a\":[1,2.50]}}}}")
        } else {
            String::new()
        },
        correlation_id: some("correlation"),
        trace_id: some("trace"),
        span_id: some("span"),
    };
    let crc32c = EncodedEvent::encode(&event).crc32c;
    let partition = PartitionId {
        generation: 1,
        partition: 7,
        epoch: 2,
    };
    StoredEvent {
        event,
        position: Position::new(partition, 1 + n / 4, u16::try_from(n % 4).unwrap()),
        received_at: Timestamp::from_micros(1_795_000_000_500_000 + 7 * i64::try_from(n).unwrap()),
        crc32c,
        sample_rate: if n.is_multiple_of(11) { 0.25 } else { 1.0 },
    }
}

pub(crate) fn events(count: u64) -> Vec<StoredEvent> {
    (0..count).map(event).collect()
}
