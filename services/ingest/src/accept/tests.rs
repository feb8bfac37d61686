use std::collections::BTreeMap;

use event::{ContentEncoding, Event};
use event_proto::MAX_FRAME_EVENTS;
use proptest::prelude::*;

use super::*;

const NOW: &str = "2026-11-23T12:00:00Z";

fn context() -> Context {
    Context {
        tenant: TenantId::default_tenant(),
        conversation: None,
        format: Format::Unknown,
        partial: false,
        trace: None,
        now: NOW.parse().unwrap(),
        new_id: || EventId::from_u128(7),
        partitions: PartitionCount::new(4).unwrap(),
    }
}

/// Every stored event, in the order of the request.
fn stored(context: &Context, body: &str) -> Vec<Event> {
    let accepted = accept(context, body.as_bytes()).unwrap();
    let frames: Vec<_> = accepted.frames.iter().map(decode).collect();
    let placed = accepted.placed.iter().filter(|place| !place.repeated);
    placed
        .map(|place| frames[place.frame][usize::from(place.idx)].clone())
        .collect()
}

fn decode(frame: &Frame) -> Vec<Event> {
    let frame = event_proto::Frame::decode(frame.payload.clone()).unwrap();
    let events = frame.events.iter();
    events
        .map(|event| event.encoded.decode(&frame.tenant).unwrap())
        .collect()
}

fn one(body: &str) -> Event {
    stored(&context(), body).remove(0)
}

fn refused(context: &Context, body: &[u8]) -> (u16, &'static str, String) {
    let problem = accept(context, body).unwrap_err();
    (problem.status.as_u16(), problem.code, problem.detail)
}

/// An event with `more` fields behind the required ones.
fn event(more: &str) -> String {
    format!(r#"{{"conversation_id":"c","type":"t"{more}}}"#)
}

#[test]
fn a_whole_event_comes_out_as_it_went_in() {
    let event = one(r#"{
        "event_id": "62f26b9d-ad80-54cc-86e4-041d40cd129d", "conversation_id": "c/1:x",
        "task_id": "task", "type": "output.chunk", "timestamp": "2026-11-20T10:00:00.021384+01:00",
        "content": "caf\u00e9 \ud83d\ude00\n\"", "metadata": {"a" : [1.0, 1e3, "\u00e9"] },
        "correlation_id": "x", "trace_id": "y", "span_id": "z"}"#);
    assert_eq!(
        event.event_id.to_string(),
        "62f26b9d-ad80-54cc-86e4-041d40cd129d"
    );
    assert_eq!(event.conversation_id.as_str(), "c/1:x");
    assert_eq!(event.event_type.as_str(), "output.chunk");
    assert_eq!(event.timestamp.to_string(), "2026-11-20T09:00:00.021384Z");
    assert_eq!(event.content, "café 😀\n\"");
    assert_eq!(event.metadata, r#"{"a" : [1.0, 1e3, "\u00e9"] }"#);
    let ids = [event.task_id, event.correlation_id, event.trace_id];
    assert_eq!(ids, ["task", "x", "y"].map(|id| Some(id.to_owned())));
    assert_eq!(event.span_id.as_deref(), Some("z"));
}

#[test]
fn what_is_absent_or_null_gets_its_default() {
    let nulls = r#","event_id":null,"task_id":null,"timestamp":null,"content":null,
        "content_encoding":null,"metadata":null,"correlation_id":null,"tenant":null"#;
    for event in [one(&event("")), one(&event(nulls))] {
        assert_eq!(event.event_id, EventId::from_u128(7));
        assert_eq!(event.timestamp, NOW.parse().unwrap());
        assert_eq!((event.content.as_str(), event.metadata.as_str()), ("", ""));
        assert_eq!((&event.task_id, &event.trace_id), (&None, &None));
    }
}

#[test]
fn an_id_that_is_no_uuid_is_kept_in_the_metadata() {
    let first = one(&event(r#","event_id":"run-1 \"é\"","metadata":{"a":1}"#));
    assert_eq!(first.metadata, r#"{"a":1,"event_id":"run-1 \"é\""}"#);
    assert_eq!(first.event_id.as_u128() >> 76 & 0xf, 8);
    let again = one(&event(r#","event_id":"run-1 \"é\"","metadata":{"a":1}"#));
    assert_eq!(first, again);
    let upper = one(&event(
        r#","event_id":"62F26B9D-AD80-54CC-86E4-041D40CD129D""#,
    ));
    assert_eq!(
        upper.metadata,
        r#"{"event_id":"62F26B9D-AD80-54CC-86E4-041D40CD129D"}"#
    );
}

#[test]
fn unknown_fields_go_behind_the_members_of_the_metadata() {
    let cases = [
        (r#","x":1"#, r#"{"x":1}"#),
        (
            r#","x":1.50,"metadata":{"a" : 1 },"y":[ {"z":null} ]"#,
            r#"{"a" : 1 ,"x":1.50,"y":[ {"z":null} ]}"#,
        ),
        (r#","metadata":{ },"x":null"#, r#"{ "x":null}"#),
        (r#","received_at":"then""#, r#"{"received_at":"then"}"#),
        (r#","é\u0022":"v""#, r#"{"é\"":"v"}"#),
        (r#","metadata":{}"#, "{}"),
    ];
    for (more, metadata) in cases {
        assert_eq!(one(&event(more)).metadata, metadata, "{more}");
    }
}

#[test]
fn content_that_is_base64_is_stored_as_it_came() {
    let event = one(&event(r#","content":"AP8=","content_encoding":"base64""#));
    assert_eq!(event.content, "AP8=");
    assert_eq!(event.content_encoding, ContentEncoding::Base64);
}

#[test]
fn the_trace_of_the_request_is_for_events_without_one() {
    let mut context = context();
    context.trace = Some(Trace {
        trace_id: "request".into(),
        span_id: "span".into(),
    });
    let body = [event(r#","event_id":"a""#), event(r#","trace_id":"own""#)];
    let body = body.join("\n");
    let events = stored(&context, &body);
    let ids = |n: usize| (events[n].trace_id.as_deref(), events[n].span_id.as_deref());
    assert_eq!(ids(0), (Some("request"), Some("span")));
    assert_eq!(ids(1), (Some("own"), None));
}

#[test]
fn every_bad_item_has_a_code_and_a_sentence() {
    let long = |len: usize| "x".repeat(len);
    let deep = |n: usize| {
        format!(
            "{}{}",
            r#"{"a":"#.repeat(n - 1),
            "{}".to_owned() + &"}".repeat(n - 1)
        )
    };
    let cases: &[(String, &str, &str)] = &[
        ("5".into(), "not_an_object", "this is a number"),
        ("[[]]".into(), "not_an_object", "this is an array"),
        (r#""{}""#.into(), "not_an_object", "this is a string"),
        ("null".into(), "not_an_object", "this is null"),
        (r#"{"type":"t"}"#.into(), "missing_conversation", "required"),
        (
            r#"{"conversation_id":"c"}"#.into(),
            "missing_type",
            "required",
        ),
        (
            r#"{"conversation_id":5,"type":"t"}"#.into(),
            "invalid_conversation_id",
            "not a number",
        ),
        (
            r#"{"conversation_id":"","type":"t"}"#.into(),
            "invalid_conversation_id",
            "empty",
        ),
        (
            r#"{"conversation_id":"😀","type":"t"}"#.into(),
            "invalid_conversation_id",
            "allowed are",
        ),
        (
            r#"{"conversation_id":"../etc","type":"t"}"#.into(),
            "invalid_conversation_id",
            "path segment",
        ),
        (
            r#"{"conversation_id":"c","type":"a b"}"#.into(),
            "invalid_type",
            "allowed are",
        ),
        (
            event(r#","tenant":"other""#),
            "tenant_not_allowed",
            "credential",
        ),
        (event(r#","type":"u""#), "duplicate_field", "twice"),
        (event(r#","x":1,"x":2"#), "duplicate_field", "twice"),
        (
            event(r#","x":1,"metadata":{"\u0078":2}"#),
            "duplicate_field",
            "twice",
        ),
        (
            event(r#","event_id":"a","metadata":{"event_id":2}"#),
            "duplicate_field",
            "twice",
        ),
        (event(r#","event_id":"""#), "invalid_event_id", "empty"),
        (
            event(&format!(r#","event_id":"{}""#, long(129))),
            "invalid_event_id",
            "at most 128",
        ),
        (
            event(r#","event_id":17"#),
            "invalid_event_id",
            "not a number",
        ),
        (
            event(r#","timestamp":"yesterday""#),
            "invalid_timestamp",
            "RFC 3339",
        ),
        (
            event(r#","timestamp":1732320000"#),
            "invalid_timestamp",
            "not a number",
        ),
        (
            event(r#","timestamp":"2026-11-23T12:05:00.000001Z""#),
            "timestamp_in_future",
            "ahead",
        ),
        (
            event(r#","timestamp":"2026-11-24T12:00:00Z""#),
            "timestamp_in_future",
            "ahead",
        ),
        (
            event(r#","content":{"a":[]}"#),
            "invalid_content",
            "not an object",
        ),
        (
            event(r#","content":"?","content_encoding":"base64""#),
            "invalid_content",
            "base64",
        ),
        (
            event(r#","content_encoding":"gzip""#),
            "invalid_content_encoding",
            "base64",
        ),
        (event(r#","metadata":[1]"#), "invalid_metadata", "object"),
        (event(r#","metadata":"{}""#), "invalid_metadata", "object"),
        (
            event(&format!(r#","metadata":{}"#, deep(65))),
            "too_deep",
            "64",
        ),
        (event(&format!(r#","x":{}"#, deep(64))), "too_deep", "64"),
        (
            event(&format!(r#","metadata":{}"#, deep(50_000))),
            "too_deep",
            "64",
        ),
        (event(r#","content":"a\u0000b""#), "nul_character", "base64"),
        (event(r#","task_id":"a\u0000b""#), "nul_character", "base64"),
        (
            event(r#","metadata":{"a":["\\\u0000"]}"#),
            "nul_character",
            "base64",
        ),
        (
            event(r#","metadata":{"a\u0000":1}"#),
            "nul_character",
            "base64",
        ),
        (event(r#","x\u0000":1"#), "nul_character", "base64"),
        (
            event(&format!(r#","task_id":"{}""#, long(257))),
            "invalid_task_id",
            "at most 256",
        ),
        (
            event(&format!(r#","correlation_id":"{}""#, long(129))),
            "invalid_correlation_id",
            "at most 128",
        ),
        (
            event(&format!(r#","trace_id":"{}""#, long(129))),
            "invalid_trace_id",
            "at most 128",
        ),
        (
            event(r#","span_id":true"#),
            "invalid_span_id",
            "not a boolean",
        ),
        (
            event(&format!(r#","content":"{}""#, long(257 * 1024))),
            "event_too_large",
            "262144",
        ),
    ];
    for (body, code, sentence) in cases {
        let (status, found, detail) = refused(&context(), body.as_bytes());
        let shown = &body[..body.ceil_char_boundary(body.len().min(80))];
        assert_eq!((status, found), (422, *code), "{shown}");
        assert!(detail.contains(sentence), "{shown}: {detail}");
    }
}

#[test]
fn what_is_just_allowed_is_accepted() {
    let deepest = format!(
        "{}{}",
        r#"{"a":"#.repeat(63),
        "{}".to_owned() + &"}".repeat(63)
    );
    for more in [
        format!(r#","metadata":{deepest}"#),
        r#","timestamp":"2026-11-23T12:05:00Z""#.to_owned(),
        r#","metadata":{"a":"\\u0000"}"#.to_owned(),
        format!(r#","content":"{}""#, "x".repeat(255 * 1024)),
        r#","content":"{[\"\u0001""#.to_owned(),
    ] {
        one(&event(&more));
    }
}

#[test]
fn a_body_that_is_no_json_is_malformed_with_its_place() {
    let cases: &[(&[u8], &str, &str)] = &[
        (b"", "empty_body", "empty"),
        (b" \n\t ", "empty_body", "empty"),
        (b"{\"a\":1,}", "malformed_json", "line 1 column 8"),
        (
            b"[{\"a\":1},\n {\"b\" 2}]",
            "malformed_json",
            "line 2 column 7",
        ),
        (b"[{}", "malformed_json", "EOF"),
        (b"[{}] x", "malformed_json", "trailing"),
        (b"{} nope", "malformed_json", "line 1"),
        (b"{\"a\":\"\x01\"}", "malformed_json", "control character"),
        (b"{\"content\":\"\\ud800\"}", "malformed_json", "hex escape"),
        (b"{\"a\":\"\xff\"}", "invalid_utf8", "byte 6"),
    ];
    for (body, code, sentence) in cases {
        let (status, found, detail) = refused(&context(), body);
        assert_eq!((status, found), (400, *code), "{detail}");
        assert!(detail.contains(sentence), "{detail}");
    }
    let bomb = "[".repeat(100_000);
    assert_eq!(refused(&context(), bomb.as_bytes()).1, "malformed_json");
    let closed = format!("{bomb}{}", "]".repeat(100_000));
    assert_eq!(refused(&context(), closed.as_bytes()).1, "not_an_object");
    let value = event(&format!(r#","content":{closed}"#));
    assert_eq!(refused(&context(), value.as_bytes()).1, "invalid_content");
}

#[test]
fn a_line_that_is_no_json_is_named_by_its_number() {
    let body = format!("{}\r\n\n{{oops\n{}", event(""), event(""));
    let mut context = context();
    context.format = Format::Lines;
    let (status, code, detail) = refused(&context, body.as_bytes());
    assert_eq!((status, code), (400, "malformed_json"));
    assert!(detail.contains("line 3 column 2"), "{detail}");

    context.partial = true;
    let accepted = accept(&context, body.as_bytes()).unwrap();
    assert_eq!(accepted.placed.len(), 2);
    let rejected = &accepted.rejected[0];
    assert_eq!((rejected.index, rejected.code), (1, "malformed_json"));
}

#[test]
fn every_form_of_body_holds_the_same_events() {
    let (a, b) = (event(r#","content":"a""#), event(r#","content":"b""#));
    let array = format!("[{a},\n{b}]");
    let lines = format!("{a}\n{b}\n");
    let contents = |format, body: &str| {
        let mut context = context();
        context.format = format;
        context.new_id = || EventId::from_uuid(uuid::Uuid::now_v7());
        let events = stored(&context, body);
        events.into_iter().map(|e| e.content).collect::<Vec<_>>()
    };
    for (format, body) in [
        (Format::Json, &array),
        (Format::Unknown, &array),
        (Format::Lines, &lines),
        (Format::Unknown, &lines),
        (Format::Unknown, &format!("\u{feff}{a}{b}")),
    ] {
        assert_eq!(contents(format, body), ["a", "b"], "{format:?}");
    }
    assert_eq!(contents(Format::Json, &a), ["a"]);
    assert!(contents(Format::Json, "[]").is_empty());
}

#[test]
fn one_bad_item_refuses_all_of_them_unless_a_part_is_wanted() {
    let body = [event(""), event(r#","tenant":"x""#), "5".to_owned()].join("\n");
    let problem = accept(&context(), body.as_bytes()).unwrap_err();
    assert_eq!((problem.status.as_u16(), problem.total), (422, 2));
    let listed: Vec<_> = problem.items.iter().map(|i| (i.index, i.code)).collect();
    assert_eq!(listed, [(1, "tenant_not_allowed"), (2, "not_an_object")]);
    assert!(problem.detail.contains("nothing was stored"));

    let mut partial = context();
    partial.partial = true;
    let accepted = accept(&partial, body.as_bytes()).unwrap();
    assert_eq!((accepted.placed.len(), accepted.rejected_total), (1, 2));
    let all_bad = refused(&partial, b"5\n6");
    assert_eq!((all_bad.0, all_bad.1), (422, "invalid_items"));
}

#[test]
fn an_answer_lists_a_hundred_bad_items_and_counts_them_all() {
    let body = "1\n".repeat(1000);
    let problem = accept(&context(), body.as_bytes()).unwrap_err();
    assert_eq!((problem.items.len(), problem.total), (100, 1000));
    let body = "1\n".repeat(MAX_ITEMS + 1);
    assert_eq!(refused(&context(), body.as_bytes()).1, "too_many_events");
}

#[test]
fn the_conversation_of_the_path_is_the_default_and_the_law() {
    let mut context = context();
    context.conversation = Some(ConversationId::new("c").unwrap());
    let events = stored(&context, r#"{"type":"t"}"#);
    assert_eq!(events[0].conversation_id.as_str(), "c");
    assert_eq!(stored(&context, &event("")).len(), 1);
    let (_, code, detail) = refused(&context, br#"{"type":"t","conversation_id":"d"}"#);
    assert_eq!(code, "conversation_mismatch");
    assert!(detail.contains("path"));
}

#[test]
fn an_id_that_comes_twice_in_a_request_is_stored_once_per_conversation() {
    let with = |conversation: &str| {
        format!(r#"{{"conversation_id":"{conversation}","type":"t","event_id":"x"}}"#)
    };
    let body = [with("a"), with("b"), with("a")].join("\n");
    let accepted = accept(&context(), body.as_bytes()).unwrap();
    let repeated: Vec<_> = accepted.placed.iter().map(|p| p.repeated).collect();
    assert_eq!(repeated, [false, false, true]);
    let (first, last) = (accepted.placed[0], accepted.placed[2]);
    assert_eq!((last.frame, last.idx), (first.frame, first.idx));
    assert_eq!(stored(&context(), &body).len(), 2);
}

#[test]
fn frames_hold_one_partition_in_order_within_their_limits() {
    let line = |n: usize| {
        format!(
            r#"{{"conversation_id":"c{}","type":"t","event_id":"{n}","content":"{n}"}}"#,
            n % 7
        )
    };
    let body: String = (0..3000).map(|n| line(n) + "\n").collect();
    let accepted = accept(&context(), body.as_bytes()).unwrap();
    let again = accept(&context(), body.as_bytes()).unwrap();
    assert_eq!(
        accepted.frames, again.frames,
        "a retry has the same identity"
    );

    let mut per_conversation: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for frame in &accepted.frames {
        let events = decode(frame);
        assert_eq!(events.len(), frame.events);
        assert!(events.len() <= MAX_FRAME_EVENTS);
        for event in events {
            let id = event.conversation_id;
            let partition = context().partitions.partition_of(&event.tenant, &id);
            assert_eq!(partition, frame.partition);
            let all = per_conversation.entry(id.to_string()).or_default();
            all.push(event.content.parse().unwrap());
        }
    }
    assert_eq!(per_conversation.values().map(Vec::len).sum::<usize>(), 3000);
    assert!(per_conversation.values().all(|all| all.is_sorted()));
}

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("1e9".to_owned()),
        Just(r#""text""#.to_owned()),
        Just(r#""a\u0000""#.to_owned()),
        Just(r#""c""#.to_owned()),
    ];
    let name = prop_oneof![
        Just("event_id"),
        Just("conversation_id"),
        Just("type"),
        Just("timestamp"),
        Just("content"),
        Just("metadata"),
        Just("tenant"),
        Just("x"),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        let member = (name.clone(), inner.clone()).prop_map(|(n, v)| format!("{n:?}:{v}"));
        let members = prop::collection::vec(member, 0..6);
        let elements = prop::collection::vec(inner, 0..6);
        prop_oneof![
            members.prop_map(|all| format!("{{{}}}", all.join(","))),
            elements.prop_map(|all| format!("[{}]", all.join(","))),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200), partial: bool) {
        let mut context = context();
        context.partial = partial;
        for format in [Format::Json, Format::Lines, Format::Unknown] {
            context.format = format;
            let _ = accept(&context, &body);
        }
    }

    #[test]
    fn no_json_panics(body in any_json(), cut in 0..400_usize, partial: bool) {
        let mut context = context();
        context.partial = partial;
        for format in [Format::Json, Format::Lines, Format::Unknown] {
            context.format = format;
            let _ = accept(&context, body.as_bytes());
            let _ = accept(&context, &body.as_bytes()[..cut.min(body.len())]);
        }
    }

    #[test]
    fn any_content_comes_back(content: String, name in "[a-z]{1,8}_x") {
        prop_assume!(!content.contains('\0'));
        let text = serde_json::to_string(&content).unwrap();
        let event = one(&event(&format!(r#","content":{text},"{name}":{text}"#)));
        prop_assert_eq!(event.content, content);
        prop_assert_eq!(event.metadata, format!(r#"{{"{name}":{text}}}"#));
    }
}
