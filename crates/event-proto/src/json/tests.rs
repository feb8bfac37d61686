use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, PartitionId, Position, StoredEvent,
    TenantId, Timestamp,
};

#[test]
fn an_event_is_written_with_its_metadata_byte_for_byte() {
    let stored = StoredEvent {
        event: Event {
            event_id: EventId::from_u128(1),
            tenant: TenantId::default_tenant(),
            conversation_id: ConversationId::new("c").unwrap(),
            task_id: None,
            event_type: EventType::new("output.chunk").unwrap(),
            timestamp: Timestamp::from_micros(0),
            content: "a\"\n🦀".into(),
            content_encoding: ContentEncoding::Utf8,
            metadata: r#"{"b" : 1.0,"a":[ ]}"#.into(),
            correlation_id: None,
            trace_id: Some("t".into()),
            span_id: None,
        },
        position: Position::new(PartitionId::first(2), 3, 4),
        received_at: Timestamp::from_micros(1_000_000),
        crc32c: 0,
        sample_rate: 0.5,
    };
    let mut out = Vec::new();
    super::write(&stored, &mut out);
    let expected = concat!(
        r#"{"position":"0001-0002-0001-00000000000000000003-0004","#,
        r#""event_id":"00000000-0000-0000-0000-000000000001","conversation_id":"c","#,
        r#""type":"output.chunk","timestamp":"1970-01-01T00:00:00.000000Z","content":"a\"\n🦀","#,
        r#""metadata":{"b" : 1.0,"a":[ ]},"trace_id":"t","#,
        r#""received_at":"1970-01-01T00:00:01.000000Z","sample_rate":0.5}"#
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
