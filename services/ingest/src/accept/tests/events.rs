use event::ContentEncoding;

use super::*;

#[test]
fn an_event_with_every_field_is_stored_as_it_was_sent() {
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
fn absent_and_null_fields_get_their_defaults() {
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
fn unknown_fields_are_appended_to_the_metadata() {
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
fn base64_content_is_stored_as_it_was_sent() {
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
