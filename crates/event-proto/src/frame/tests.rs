use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, PartitionId, TenantId, Timestamp,
};
use proptest::{prelude::*, strategy::ValueTree as _};

use prost::Message as _;

use super::{Frame, FrameBuilder};
use crate::{
    canonical::{Encoded, EncodedEvent, Identity},
    error::DecodeError,
    pack::{Pack, PackedEvent},
    wire,
};

fn any_event() -> impl Strategy<Value = Event> {
    let text = prop::option::of("[^\\x00]{0,20}");
    let head = (
        any::<u128>(),
        "[a-c]",
        text.clone(),
        "[a-z]{1,9}(\\.[a-z]{1,9})?",
    );
    let body = (
        -4_000_000_000_000_000..4_000_000_000_000_000_i64,
        "[^\\x00]{0,200}",
        any::<bool>(),
        "(\\{\\})?",
    );
    (head, body, text.clone(), text.clone(), text).prop_map(
        |((id, conversation, task_id, kind), (time, content, base64, metadata), a, b, c)| Event {
            event_id: EventId::from_u128(id),
            tenant: TenantId::default_tenant(),
            conversation_id: ConversationId::new(&conversation).unwrap(),
            task_id,
            event_type: EventType::new(&kind).unwrap(),
            timestamp: Timestamp::from_micros(time),
            content,
            content_encoding: if base64 {
                ContentEncoding::Base64
            } else {
                ContentEncoding::Utf8
            },
            metadata,
            correlation_id: a,
            trace_id: b,
            span_id: c,
        },
    )
}

fn build(events: &[Event]) -> FrameBuilder {
    let mut builder = FrameBuilder::new(TenantId::default_tenant(), PartitionId::first(7), 0);
    for event in events {
        let encoded = EncodedEvent::encode(event);
        let identity = encoded.identity(event.event_id);
        let conversation = builder.conversation(&event.conversation_id);
        builder.push(identity, conversation, encoded.as_encoded());
    }
    builder
}

/// The event as a message of the generated code.
fn message(event: &Event) -> wire::Event {
    let event = event.clone();
    wire::Event {
        event_id: event.event_id.as_bytes().to_vec().into(),
        conversation_id: event.conversation_id.as_str().to_owned(),
        task_id: event.task_id,
        r#type: event.event_type.as_str().to_owned(),
        timestamp_us: event.timestamp.as_micros(),
        content: event.content,
        content_encoding: match event.content_encoding {
            ContentEncoding::Utf8 => wire::ContentEncoding::Utf8,
            ContentEncoding::Base64 => wire::ContentEncoding::Base64,
        }
        .into(),
        metadata: event.metadata,
        correlation_id: event.correlation_id,
        trace_id: event.trace_id,
        span_id: event.span_id,
    }
}

proptest! {
    #[test]
    fn the_canonical_bytes_are_what_the_generated_code_writes(event in any_event()) {
        prop_assert_eq!(&EncodedEvent::encode(&event).bytes[..], message(&event).encode_to_vec());
    }

    #[test]
    fn a_frame_gives_back_its_events_in_order(events in prop::collection::vec(any_event(), 1..20)) {
        let frame = Frame::decode(build(&events).encode()).unwrap();
        let decoded: Vec<_> = frame.events.iter().map(|e| frame.event(e).unwrap()).collect();
        prop_assert_eq!(&decoded, &events);
        for (framed, event) in frame.events.iter().zip(&events) {
            prop_assert_eq!(&frame.conversations[framed.conversation], &event.conversation_id);
        }
    }

    #[test]
    fn a_pack_gives_back_its_events(events in prop::collection::vec(any_event(), 1..20)) {
        let pack = Pack {
            events: events.iter().enumerate().map(|(n, event)| PackedEvent {
                seq: n as u64 + 5,
                idx: 3,
                received_at: Timestamp::from_micros(9),
                encoded: EncodedEvent::encode(event),
            }).collect(),
        };
        prop_assert_eq!(Pack::decode(pack.encode()).unwrap(), pack);
    }

    #[test]
    fn a_flipped_bit_is_never_returned_as_an_event(event in any_event(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut encoded = EncodedEvent::encode(&event);
        let mut bytes = encoded.bytes.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        encoded.bytes = bytes.into();
        let refused = matches!(encoded.decode(&event.tenant), Err(DecodeError::Checksum { .. }));
        prop_assert!(refused);
    }

    #[test]
    fn garbage_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Frame::decode(bytes.clone().into());
        let _ = Pack::decode(bytes.into());
    }
}

#[test]
fn the_message_id_depends_on_ids_bodies_and_order_and_on_nothing_else() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let tree = prop::collection::vec(any_event(), 2..3)
        .new_tree(&mut runner)
        .unwrap();
    let events = proptest::strategy::ValueTree::current(&tree);
    let id = build(&events).message_id();
    assert_eq!(build(&events).message_id(), id);
    let mut reversed = events.clone();
    reversed.reverse();
    assert_ne!(build(&reversed).message_id(), id);
    let mut changed = events;
    changed[0].content.push('!');
    assert_ne!(build(&changed).message_id(), id);
}

/// A retry may meet another version of ingest: docs/formats.md says what is hashed.
#[test]
fn the_message_id_is_a_hash_of_the_tenant_the_partition_and_each_events_identity() {
    let partition = PartitionId::first(3);
    let mut frame = FrameBuilder::new(TenantId::default_tenant(), partition, 0);
    let mut hashed = format!("default\0{partition}\0").into_bytes();
    for number in 1..=2_u32 {
        let conversation = frame.conversation(&ConversationId::new("c").unwrap());
        let identity = Identity {
            id: EventId::from_u128(number.into()),
            checksum: number,
        };
        let event = Encoded {
            bytes: b"event",
            crc32c: 0,
        };
        frame.push(identity, conversation, event);
        hashed.extend_from_slice(&u128::from(number).to_be_bytes());
        hashed.extend_from_slice(&number.to_le_bytes());
    }
    assert_eq!(
        frame.message_id(),
        blake3::hash(&hashed).to_hex().to_string()
    );
}

proptest! {
    #[test]
    fn frames_put_together_have_all_events_in_order_and_each_conversation_once(
        parts in prop::collection::vec(prop::collection::vec(any_event(), 1..8), 1..6),
    ) {
        let mut joined = build(&parts[0]);
        let mut firsts = vec![0];
        for part in &parts[1..] {
            let other = build(part);
            prop_assert!(joined.has_room_for_frame(&other));
            firsts.push(joined.append(other));
        }
        let of_all_at_once = build(&parts.concat()).message_id();
        prop_assert_eq!(joined.message_id(), of_all_at_once);
        let frame = Frame::decode(joined.encode()).unwrap();
        let events: Vec<Event> = frame.events.iter().map(|framed| frame.event(framed).unwrap()).collect();
        prop_assert_eq!(&events, &parts.concat());
        for (part, first) in parts.iter().zip(firsts) {
            prop_assert_eq!(&events[usize::from(first)..][..part.len()], &part[..]);
        }
    }
}

#[test]
fn a_conversation_of_two_frames_is_once_in_the_list_of_both() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut event = |conversation: &str| Event {
        conversation_id: ConversationId::new(conversation).unwrap(),
        ..any_event().new_tree(&mut runner).unwrap().current()
    };
    let mut joined = build(&[event("a"), event("b")]);
    joined.append(build(&[event("b"), event("c")]));
    let names = joined.conversations.iter().map(ConversationId::as_str);
    assert_eq!(names.collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(joined.conversation_index, [0, 1, 1, 2]);
}
