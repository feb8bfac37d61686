use bytes::Bytes;
use event::{IdError, MAX_EVENT_BYTES, TenantId, Timestamp};
use proptest::prelude::*;
use prost::Message as _;

use crate::{
    canonical::EncodedEvent,
    contents::{FrameContents, UnknownVersion},
    error::DecodeError,
    frame::{Frame, MAX_FRAME_EVENTS},
    metadata::MetadataError,
    pack::Pack,
    wire,
};

fn valid_event() -> wire::Event {
    wire::Event {
        event_id: vec![7; 16].into(),
        conversation_id: "run-1".to_owned(),
        task_id: Some("t".repeat(256)),
        r#type: "output.chunk".to_owned(),
        timestamp_us: Timestamp::MAX.as_micros(),
        content: "text".to_owned(),
        content_encoding: 0,
        metadata: r#"{"a":[{"b":"\"}"}]}"#.to_owned(),
        correlation_id: Some("c".repeat(128)),
        trace_id: None,
        span_id: Some(String::new()),
    }
}

fn encoded(event: &wire::Event) -> EncodedEvent {
    let bytes: Bytes = event.encode_to_vec().into();
    let crc32c = crc32c::crc32c(&bytes);
    EncodedEvent { bytes, crc32c }
}

/// The error of decoding a valid event after `change`.
fn refusal(change: impl FnOnce(&mut wire::Event)) -> DecodeError {
    let mut event = valid_event();
    change(&mut event);
    encoded(&event)
        .decode(&TenantId::default_tenant())
        .unwrap_err()
}

fn frame_of(events: &[EncodedEvent]) -> wire::Frame {
    wire::Frame {
        version: 1,
        tenant: "default".to_owned(),
        conversations: vec!["run-1".to_owned()],
        conversation_index: vec![0; events.len()],
        crc32c: events.iter().map(|event| event.crc32c).collect(),
        lengths: events.iter().map(|e| e.bytes.len() as u32).collect(),
        compression: 0,
        events: events
            .iter()
            .flat_map(|e| e.bytes.to_vec())
            .collect::<Vec<_>>()
            .into(),
    }
}

/// The error of decoding a valid frame of one event after `change`.
fn frame_refusal(change: impl FnOnce(&mut wire::Frame)) -> DecodeError {
    let mut frame = frame_of(&[encoded(&valid_event())]);
    change(&mut frame);
    Frame::decode(frame.encode_to_vec().into()).unwrap_err()
}

#[test]
fn an_event_at_every_limit_is_decoded() {
    encoded(&valid_event())
        .decode(&TenantId::default_tenant())
        .unwrap();
}

#[test]
fn a_time_that_no_tier_can_represent_is_refused() {
    for micros in [i64::MIN, i64::MAX, Timestamp::MIN.as_micros() - 1] {
        let error = refusal(|event| event.timestamp_us = micros);
        let matches =
            matches!(error, DecodeError::Time { field: "timestamp_us", micros: m } if m == micros);
        assert!(matches, "{error}");
    }
    let pack = wire::Pack {
        version: 1,
        seq: vec![1],
        idx: vec![0],
        received_at_us: vec![i64::MIN],
        crc32c: vec![0],
        lengths: vec![0],
        ..wire::Pack::default()
    };
    let error = Pack::decode(pack.encode_to_vec().into()).unwrap_err();
    assert!(matches!(error, DecodeError::Time { .. }), "{error}");
}

#[test]
fn metadata_that_is_not_one_object_cannot_forge_the_fields_of_an_answer() {
    for forged in [
        r#"{"a":1},"received_at":"FORGED""#,
        r#"{"a":1}{"b":2}"#,
        r#"[{"a":1}]"#,
        r#""text""#,
        "1",
        "null",
        " ",
        "{",
        r#"{"a":1"#,
        "{\"a\":\"\n\"}",
    ] {
        let error = refusal(|event| forged.clone_into(&mut event.metadata));
        let expected = matches!(error, DecodeError::Metadata(MetadataError::NotOneObject));
        assert!(expected, "{forged}: {error}");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64));
    let error = refusal(|event| event.metadata = deep);
    assert!(matches!(
        error,
        DecodeError::Metadata(MetadataError::TooDeep)
    ));
    let error = refusal(|event| r#"{"a":"\u0000"}"#.clone_into(&mut event.metadata));
    assert!(matches!(error, DecodeError::Metadata(MetadataError::Nul)));
}

#[test]
fn names_and_texts_beyond_the_limits_of_ingest_are_refused() {
    let is_id = |error: &DecodeError| matches!(error, DecodeError::Id(_));
    let conversations = [
        String::new(),
        "c".repeat(257),
        "a b".to_owned(),
        "../x".to_owned(),
    ];
    for text in conversations {
        let error = refusal(|event| event.conversation_id = text);
        assert!(is_id(&error), "{error}");
    }
    assert!(is_id(&refusal(|event| event.r#type = "a b".to_owned())));
    assert!(is_id(&refusal(|event| event.r#type = "t".repeat(129))));
    let error = refusal(|event| event.event_id = vec![7; 15].into());
    assert!(matches!(error, DecodeError::Field("event_id")));
    let error = refusal(|event| event.content_encoding = 9);
    assert!(matches!(error, DecodeError::Field("content_encoding")));
    let error = refusal(|event| event.task_id = Some("t".repeat(257)));
    assert!(matches!(
        error,
        DecodeError::TooLarge {
            field: "task_id",
            found: 257,
            max: 256
        }
    ));
    let error = refusal(|event| event.span_id = Some("s".repeat(129)));
    assert!(matches!(
        error,
        DecodeError::TooLarge {
            field: "span_id",
            ..
        }
    ));
    let error = refusal(|event| event.content = "x".repeat(MAX_EVENT_BYTES));
    assert!(matches!(
        error,
        DecodeError::TooLarge { field: "event", .. }
    ));
    assert!(matches!(
        refusal(|e| e.content = "\0".to_owned()),
        DecodeError::Nul("content")
    ));
    let error = refusal(|event| event.trace_id = Some("\0".to_owned()));
    assert!(matches!(error, DecodeError::Nul("trace_id")));
}

#[test]
fn a_frame_beyond_the_limits_of_ingest_is_refused() {
    for tenant in ["", "a/b", &"t".repeat(64)] {
        let error = frame_refusal(|frame| tenant.clone_into(&mut frame.tenant));
        assert!(matches!(error, DecodeError::Id(_)), "{error}");
    }
    let error = frame_refusal(|frame| frame.conversations[0] = "a b".to_owned());
    assert!(matches!(error, DecodeError::Id(IdError::Character { .. })));
    let error = frame_refusal(|frame| frame.lengths[0] = u32::MAX);
    assert!(matches!(
        error,
        DecodeError::TooLarge {
            field: "events",
            ..
        }
    ));
    let error = frame_refusal(|frame| frame.compression = 9);
    assert!(matches!(error, DecodeError::Field("compression")));
    let many = vec![encoded(&valid_event()); MAX_FRAME_EVENTS + 1];
    let error = frame_refusal(|frame| *frame = frame_of(&many));
    assert!(matches!(
        error,
        DecodeError::Shape("conversation_index") | DecodeError::TooLarge { .. }
    ));
}

#[test]
fn a_later_version_is_no_damage() {
    let mut frame = frame_of(&[encoded(&valid_event())]);
    frame.version = 2;
    let read = FrameContents::read(frame.encode_to_vec().into());
    assert_eq!(read.unwrap_err(), UnknownVersion(2));
    // No version was ever 0: bytes that happen to be protobuf have none.
    frame.version = 0;
    for payload in [frame.encode_to_vec().into(), Bytes::new()] {
        let contents = FrameContents::read(payload).unwrap();
        assert!(contents.damage.is_some() && contents.events.is_empty());
    }
}

#[test]
fn the_other_events_of_a_damaged_frame_are_read() {
    let mut events = vec![encoded(&valid_event()); 3];
    events[1].crc32c ^= 1;
    let contents = FrameContents::read(frame_of(&events).encode_to_vec().into()).unwrap();

    let read: Vec<_> = contents.events.iter().map(|event| event.idx).collect();
    assert_eq!(read, [0, 2]);
    let damage = contents.damage.unwrap().to_string();
    assert!(
        damage.starts_with("event 1 of the frame: checksum"),
        "{damage}"
    );
}

#[test]
fn an_event_of_another_conversation_than_its_frame_says_is_refused() {
    let mut frame = frame_of(&[encoded(&valid_event())]);
    frame.conversations[0] = "run-2".to_owned();
    let frame = Frame::decode(frame.encode_to_vec().into()).unwrap();
    let error = frame.event(&frame.events[0]).unwrap_err();
    assert!(
        matches!(error, DecodeError::Shape("conversation_id")),
        "{error}"
    );
}

proptest! {
    /// Damage that leaves most of the structure intact reaches further than random bytes.
    #[test]
    fn no_bytes_of_a_frame_or_an_event_panic(
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = frame_of(&[encoded(&valid_event())]).encode_to_vec();
        bytes.truncate(cut.index(bytes.len()) + 1);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let raw = Bytes::from(bytes);
        let crc32c = crc32c::crc32c(&raw);
        let event = EncodedEvent { bytes: raw.clone(), crc32c };
        let _ = event.decode(&TenantId::default_tenant());
        let _ = Pack::decode(raw.clone());
        if let Ok(frame) = Frame::decode(raw) {
            for framed in &frame.events {
                let _ = frame.event(framed);
            }
        }
    }
}
