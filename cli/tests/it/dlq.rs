//! `isotherm dlq`: dead letters are listed, shown, replayed when they can be read, and dropped.

use bytes::Bytes;
use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, PartitionCount, PartitionId,
    Position, TenantId, Timestamp,
};
use event_log::{DeadLetter, EventLog};
use event_proto::{EncodedEvent, FrameBuilder};
use testkit::Nats;

use crate::dev::{isotherm, run, text};

const PARTITION: PartitionId = PartitionId::first(0);

fn letter(seq: u64, payload: Bytes) -> DeadLetter {
    DeadLetter {
        position: Position::new(PARTITION, seq, 0),
        received_at: Timestamp::from_micros(1_000_000),
        reason: "a reason".to_owned(),
        tenant: None,
        payload,
    }
}

/// A frame of one event.
fn readable() -> Bytes {
    let event = Event {
        event_id: EventId::from_u128(7),
        tenant: TenantId::default_tenant(),
        conversation_id: ConversationId::new("a").unwrap(),
        task_id: None,
        event_type: EventType::new("output.chunk").unwrap(),
        timestamp: Timestamp::from_micros(1_000_000),
        content: "text".to_owned(),
        content_encoding: ContentEncoding::Utf8,
        metadata: String::new(),
        correlation_id: None,
        trace_id: None,
        span_id: None,
    };
    let mut frame = FrameBuilder::new(TenantId::default_tenant(), PARTITION, 0);
    let encoded = EncodedEvent::encode(&event);
    let conversation = frame.conversation(&event.conversation_id);
    frame.push(
        encoded.identity(event.event_id),
        conversation,
        encoded.as_encoded(),
    );
    frame.encode()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_shown_replayed_and_dropped() {
    let nats = Nats::start().await;
    let log = EventLog::connect(&nats.url, "test").await.unwrap();
    let count = PartitionCount::new(1).unwrap();
    log.ensure_streams(count, 1, None).await.unwrap();
    let (good, bad) = (letter(3, readable()), letter(7, Bytes::from_static(b"foo")));
    for letter in [&good, &bad] {
        log.store_dead_letter(letter).await.unwrap();
    }
    let dlq = |args: &[&str]| {
        let args = [&["dlq"], args, &["--nats-url", &nats.url]].concat();
        let output = run(isotherm(7400, &args));
        (
            output.status.success(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (bad_text, good_text) = (bad.position.to_string(), good.position.to_string());

    let (ok, listed, _) = dlq(&["list"]);
    assert!(
        ok && listed.contains(&bad_text) && listed.contains("a reason"),
        "{listed}"
    );
    let (_, shown, _) = dlq(&["show", &bad_text]);
    assert!(
        shown.contains("66 6f 6f") && shown.contains(" foo"),
        "{shown}"
    );

    // The one that can be read is replayed, the other one stays.
    let (ok, _, said) = dlq(&["replay", "--all"]);
    assert!(
        !ok && said.contains("1 of 2 dead letters still cannot be read"),
        "{said}"
    );
    assert!(
        said.contains(&format!("replayed {good_text} as sequence 1")),
        "{said}"
    );
    assert_eq!(log.last_seq(PARTITION).await.unwrap(), 1);
    assert_eq!(log.dead_letter(good.position).await.unwrap(), None);

    let (ok, _, said) = dlq(&["drop", &bad_text]);
    assert!(!ok && said.contains("--yes"), "{said}");
    assert!(log.dead_letter(bad.position).await.unwrap().is_some());
    assert!(dlq(&["drop", &bad_text, "--yes"]).0);
    assert!(log.dead_letters().await.unwrap().is_empty());
    let (_, listed, _) = dlq(&["list", "-o", "ndjson"]);
    assert_eq!(listed, "");
    let (ok, _, said) = dlq(&["show", &bad_text]);
    assert!(!ok && said.contains("isotherm dlq list"), "{said}");
}
