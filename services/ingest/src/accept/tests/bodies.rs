use std::collections::BTreeMap;

use event_proto::MAX_FRAME_EVENTS;

use super::*;

#[test]
fn a_body_that_is_no_json_is_malformed_with_line_and_column() {
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
        (b"\xff\xfe{\0}\0", "invalid_utf8", "UTF-16"),
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
    assert_eq!(accepted.placements.len(), 2);
    let rejected = &accepted.rejected[0];
    assert_eq!((rejected.index, rejected.code), (1, "malformed_json"));
}

#[test]
fn a_byte_order_mark_before_a_line_changes_nothing() {
    let mut context = context();
    context.format = Format::Lines;
    let body = format!("\u{feff}{}\r\n\u{feff}{}", event(""), event(""));
    for partial in [false, true] {
        context.partial = partial;
        let accepted = accept(&context, body.as_bytes()).unwrap();
        assert_eq!(accepted.placements.len(), 2);
    }
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
fn one_bad_item_refuses_the_request_unless_it_is_partial() {
    let body = [event(""), event(r#","tenant":"x""#), "5".to_owned()].join("\n");
    let problem = accept(&context(), body.as_bytes()).unwrap_err();
    assert_eq!((problem.status.as_u16(), problem.total), (422, 2));
    let listed: Vec<_> = problem.items.iter().map(|i| (i.index, i.code)).collect();
    assert_eq!(listed, [(1, "tenant_not_allowed"), (2, "not_an_object")]);
    assert!(problem.detail.contains("nothing was stored"));

    let mut partial = context();
    partial.partial = true;
    let accepted = accept(&partial, body.as_bytes()).unwrap();
    assert_eq!((accepted.placements.len(), accepted.rejected_total), (1, 2));
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
    let repeated: Vec<_> = accepted.placements.iter().map(|p| p.repeated).collect();
    assert_eq!(repeated, [false, false, true]);
    let (first, last) = (accepted.placements[0], accepted.placements[2]);
    assert_eq!((last.frame, last.idx), (first.frame, first.idx));
    assert_eq!(stored(&context(), &body).len(), 2);
}

#[test]
fn a_retry_has_the_same_message_id_although_its_default_time_and_trace_differ() {
    let body = r#"{"conversation_id":"c","type":"t","event_id":"x","content":"hi"}"#;
    let tried = |now: &str, trace: &str| {
        let context = Context {
            now: now.parse().unwrap(),
            trace: Some(Trace {
                trace_id: trace.to_owned(),
                span_id: trace.to_owned(),
            }),
            ..context()
        };
        let accepted = accept(&context, body.as_bytes()).unwrap();
        accepted.frames[0].events.message_id()
    };
    let first = tried("2026-11-23T12:00:00Z", "a");
    assert_eq!(tried("2026-11-23T12:00:01Z", "b"), first);
    let other = body.replace("hi", "ho");
    let other = accept(&context(), other.as_bytes()).unwrap();
    assert_ne!(other.frames[0].events.message_id(), first);
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
        assert_eq!(events.len(), frame.events.len());
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

#[test]
fn a_conversation_whose_first_event_is_rejected_keeps_the_others() {
    let line = |conversation: &str, content: &str| {
        format!(r#"{{"conversation_id":"{conversation}","type":"t","content":{content}}}"#)
    };
    let lines = [
        line("a", "5"),
        line("b", "\"b0\""),
        line("c", "5"),
        line("a", "\"a1\""),
        line("b", "\"b2\""),
    ];
    let mut partial = context();
    partial.partial = true;
    partial.new_id = || EventId::from_uuid(uuid::Uuid::now_v7());

    let stored = stored(&partial, &lines.join("\n"));

    let mut found: Vec<_> = stored
        .iter()
        .map(|event| (event.conversation_id.as_str(), event.content.as_str()))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [("a", "a1"), ("b", "b0"), ("b", "b2")]);
}
