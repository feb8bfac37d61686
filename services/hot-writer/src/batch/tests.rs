use bytes::Bytes;
use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, PartitionId, Seq, TenantId,
    Timestamp,
};
use event_log::LogMessage;
use event_proto::{EncodedEvent, FrameBuilder};

use super::{Batch, batch_of};

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
        payload: frame.encode(),
        headers: Vec::new(),
    }
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

    let batch = batch_of(&messages).unwrap().unwrap();

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

    let batch = batch_of(&messages).unwrap().unwrap();

    assert_eq!(summary(&batch), ["t/a: 1-0 1-1 2-0 2-1", "t/a: 3-0"]);
}

#[test]
fn no_messages_are_no_batch_and_a_damaged_one_is_named() {
    assert!(batch_of(&[]).unwrap().is_none());
    let good = message(1, "t", &["a"], "x");
    let mut bad = message(2, "t", &["a"], "payload");
    let mut bytes = bad.payload.to_vec();
    let at = bytes.windows(7).position(|part| part == b"payload");
    bytes[at.unwrap()] ^= 1;
    bad.payload = Bytes::from(bytes);

    let damaged = batch_of(&[good, bad]).unwrap_err();

    assert_eq!(damaged.seq, 2);
    assert!(damaged.source.to_string().contains("checksum"));
}
