use bytes::Bytes;
use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, PartitionId, Seq, TenantId,
    Timestamp,
};
use event_log::{FloodGuard, Halt, LogMessage};
use event_proto::{EncodedEvent, FrameBuilder};

use super::{Batch, batch_of, read};

const PARTITION: PartitionId = PartitionId::first(0);

fn event(tenant: &str, conversation: &str, content: &str) -> Event {
    Event {
        event_id: EventId::from_u128(7),
        tenant: TenantId::new(tenant).unwrap(),
        conversation_id: ConversationId::new(conversation).unwrap(),
        task_id: None,
        event_type: EventType::new("output.chunk").unwrap(),
        timestamp: Timestamp::from_micros(1),
        content: content.to_owned(),
        content_encoding: ContentEncoding::Utf8,
        metadata: String::new(),
        correlation_id: None,
        trace_id: None,
        span_id: None,
    }
}

fn message(seq: Seq, tenant: &str, conversations: &[&str], content: &str) -> LogMessage {
    let mut frame = FrameBuilder::new(TenantId::new(tenant).unwrap(), PARTITION, 0);
    for conversation in conversations {
        let event = event(tenant, conversation, content);
        let encoded = EncodedEvent::encode(&event);
        let identity = encoded.identity(event.event_id);
        let conversation = frame.conversation(&event.conversation_id);
        frame.push(identity, conversation, encoded.as_encoded());
    }
    LogMessage {
        partition: PARTITION,
        seq,
        received_at: Timestamp::from_micros(i64::try_from(seq).unwrap()),
        message_id: String::new(),
        payload: frame.encode(),
        headers: Vec::new(),
    }
}

fn batch(messages: Vec<LogMessage>) -> Batch {
    let read = read(messages, &mut FloodGuard::default());
    batch_of(&read.messages).unwrap()
}

/// `tenant/conversation: seq-idx ...` per pack.
fn summary(batch: &Batch) -> Vec<String> {
    let pack = |pack: &hot_tier::ConversationPack| {
        let offsets: Vec<_> = pack
            .pack
            .events
            .iter()
            .map(|event| format!("{}-{}", event.seq, event.idx))
            .collect();
        format!(
            "{}/{}: {}",
            pack.tenant,
            pack.conversation,
            offsets.join(" ")
        )
    };
    batch.packs.iter().map(pack).collect()
}

#[test]
fn events_are_grouped_by_conversation_in_the_order_of_the_log() {
    let messages = [
        message(4, "t", &["a", "b", "a"], "x"),
        message(5, "u", &["a"], "x"),
        message(6, "t", &["b", "a"], "x"),
    ];

    let batch = batch(messages.to_vec());

    assert_eq!((batch.first, batch.last, batch.events), (4, 6, 6));
    let expected = ["t/a: 4-0 4-2 6-1", "t/b: 4-1 6-0", "u/a: 5-0"];
    assert_eq!(summary(&batch), expected);
    let copied = &batch.packs[0].pack.events[0];
    assert_eq!(copied.encoded, EncodedEvent::encode(&event("t", "a", "x")));
    assert_eq!(copied.received_at, Timestamp::from_micros(4));
}

#[test]
fn a_pack_that_is_large_enough_is_closed_between_frames() {
    let large = "x".repeat(100 * 1024);
    let messages = [
        message(1, "t", &["a", "a"], &large),
        message(2, "t", &["a", "a"], &large),
        message(3, "t", &["a"], &large),
    ];

    let batch = batch(messages.to_vec());

    assert_eq!(summary(&batch), ["t/a: 1-0 1-1 2-0 2-1", "t/a: 3-0"]);
}

#[test]
fn no_messages_are_no_batch() {
    assert!(batch_of(&[]).is_none());
}

#[test]
fn a_dead_letter_is_passed_over_and_the_events_that_can_be_read_are_kept() {
    let mut bad = message(2, "t", &["a", "b"], "payload");
    let mut bytes = bad.payload.to_vec();
    let at = bytes.windows(7).position(|part| part == b"payload");
    bytes[at.unwrap()] ^= 1;
    bad.payload = Bytes::from(bytes);
    let mut garbage = message(3, "t", &["a"], "x");
    garbage.payload = Bytes::from_static(b"foo");
    let messages = vec![message(1, "t", &["a"], "x"), bad, garbage];
    let mut guard = FloodGuard::default();

    let read_once = read(messages.clone(), &mut guard);

    let batch = batch_of(&read_once.messages).unwrap();
    assert_eq!((batch.first, batch.last), (1, 3));
    assert_eq!(summary(&batch), ["t/a: 1-0", "t/b: 2-1"]);
    assert_eq!((read_once.dead_letters, read_once.halt), (2, None));
    assert_eq!(read(messages, &mut guard).dead_letters, 0, "counted once");
}

#[test]
fn it_stops_before_a_later_version_and_before_a_flood() {
    let mut later = message(2, "t", &["a"], "x");
    later.payload = Bytes::from_static(&[8, 9]);
    let messages = vec![message(1, "t", &["a"], "x"), later];
    let stopped = read(messages, &mut FloodGuard::default());
    assert_eq!(stopped.messages.len(), 1);
    assert_eq!(stopped.halt, Some(Halt::Version { seq: 2, version: 9 }));

    let garbage = |seq| LogMessage {
        payload: Bytes::from_static(b"foo"),
        ..message(seq, "t", &["a"], "x")
    };
    let stopped = read((1..=12).map(garbage).collect(), &mut FloodGuard::default());
    assert_eq!(stopped.messages.len(), 10);
    assert!(matches!(stopped.halt, Some(Halt::Flood { seq: 11, .. })));
}
