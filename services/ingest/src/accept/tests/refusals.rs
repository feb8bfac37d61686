use super::*;

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
        (
            format!(
                r#"{{"conversation_id":"c","type":"t"{}}}"#,
                (0..=1000)
                    .map(|n| format!(r#","k{n}":1"#))
                    .collect::<String>()
            ),
            "too_many_fields",
            "at most 1000",
        ),
        (
            format!(
                r#"{{"conversation_id":"c","type":"t","metadata":{{"a":"{}"}}}}"#,
                long(300_000)
            ),
            "event_too_large",
            "at most 262144",
        ),
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
            event(r#","timestamp":"2026-11-20 09:00:00.021""#),
            "invalid_timestamp",
            "no time zone",
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
            event(r#","metadata":{"a":"cut \ud83d"}"#),
            "lone_surrogate",
            "d83d",
        ),
        (
            event(r#","metadata":{"\uDE00":1}"#),
            "lone_surrogate",
            "DE00",
        ),
        (event(r#","x":["\ud83d\u0041"]"#), "lone_surrogate", "d83d"),
        (
            event(r#","metadata":{"score":1e400}"#),
            "number_too_large",
            "1e400",
        ),
        (event(r#","x":[-1.5E+309]"#), "number_too_large", "string"),
        (
            event(&format!(r#","x":{}"#, "9".repeat(400))),
            "number_too_large",
            "string",
        ),
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
fn values_at_their_limits_are_accepted() {
    let deepest = format!(
        "{}{}",
        r#"{"a":"#.repeat(63),
        "{}".to_owned() + &"}".repeat(63)
    );
    for more in [
        format!(r#","metadata":{deepest}"#),
        r#","timestamp":"2026-11-23T12:05:00Z""#.to_owned(),
        r#","metadata":{"a":"\\u0000"}"#.to_owned(),
        r#","metadata":{"a":"\ud83d\uDE00 \\ud83d"}"#.to_owned(),
        r#","metadata":{"a":[1e308,-1e-400,12345678901234567890123],"1e400":"1e400"}"#.to_owned(),
        format!(r#","content":"{}""#, "x".repeat(255 * 1024)),
        r#","content":"{[\"\u0001""#.to_owned(),
    ] {
        one(&event(&more));
    }
}
