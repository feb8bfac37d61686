use super::*;

fn raw(timestamp: &str) -> RawRow {
    RawRow {
        rowid: 7,
        id: "a-7".to_owned(),
        conversation: "c".to_owned(),
        chunk: Vec::new(),
        parsed_data: None,
        timestamp: timestamp.to_owned(),
    }
}

fn latest() -> Timestamp {
    "2026-11-24T00:00:00Z".parse().unwrap()
}

#[test]
fn both_time_formats_are_parsed_alike() {
    for text in [
        "2026-11-20T09:00:00.021Z",
        "2026-11-20T10:00:00.021+01:00",
        "2026-11-20 09:00:00.021",
        " 2026-11-20 09:00:00.021 ",
    ] {
        let row = LegacyRow::new(raw(text), latest()).unwrap();
        assert_eq!(row.at.to_string(), "2026-11-20T09:00:00.021000Z", "{text}");
    }
    LegacyRow::new(raw("2026-11-20 09:00:00"), latest()).unwrap();
}

#[test]
fn a_row_that_cannot_become_an_event_is_named() {
    let reason = |raw: RawRow| LegacyRow::new(raw, latest()).unwrap_err().to_string();
    let future = reason(raw("2026-11-24 00:00:01"));
    assert_eq!(
        future,
        r#"row "a-7" (rowid 7): the timestamp 2026-11-24T00:00:01.000000Z is in the future"#
    );
    for text in ["", "soon", "1763629200"] {
        assert!(reason(raw(text)).contains("is no time"), "{text}");
    }
    let nameless = RawRow {
        conversation: String::new(),
        ..raw("2026-11-20 09:00:00")
    };
    assert!(reason(nameless).contains("conversation_id is empty"));
    let anonymous = RawRow {
        id: String::new(),
        ..raw("2026-11-20 09:00:00")
    };
    assert!(reason(anonymous).contains("has no id"));
}

#[test]
fn a_row_without_data_is_plain_output() {
    for (text, plain) in [("", true), (" null ", true), ("{}", false), ("0", false)] {
        let raw = RawRow {
            parsed_data: Some(text.to_owned()),
            ..raw("2026-11-20 09:00:00")
        };
        let row = LegacyRow::new(raw, latest()).unwrap();
        assert_eq!(row.parsed_data.is_none(), plain, "{text}");
    }
}

#[test]
fn members_keep_their_bytes_and_other_texts_are_kept_whole() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(70), "]".repeat(70));
    let deep_kept = format!(
        "{{\"parsed_data\":{}}}",
        serde_json::to_string(&deep).unwrap()
    );
    for (parsed, event_type, kept) in [
        (
            r#"{"type":"tool.call","task_id":"t","step":1.50}"#,
            "tool.call",
            r#"{"step":1.50}"#,
        ),
        (
            r#"{"type":"no type!","n":1}"#,
            "event",
            r#"{"type":"no type!","n":1}"#,
        ),
        (
            r#"{"type":7,"task_id":8}"#,
            "event",
            r#"{"type":7,"task_id":8}"#,
        ),
        ("nonsense", "event", r#"{"parsed_data":"nonsense"}"#),
        ("[1]", "event", r#"{"parsed_data":"[1]"}"#),
        (
            r#"{"a":1,"a":2}"#,
            "event",
            r#"{"parsed_data":"{\"a\":1,\"a\":2}"}"#,
        ),
        (
            r#"{"a":"\u0000"}"#,
            "event",
            r#"{"parsed_data":"{\"a\":\"\\u0000\"}"}"#,
        ),
        ("a\0b", "event", r#"{"parsed_data_base64":"YQBi"}"#),
        (&deep, "event", &deep_kept),
    ] {
        let fields = ParsedData::parse(parsed);
        assert_eq!(
            (fields.event_type.as_str(), fields.metadata.json().as_str()),
            (event_type, kept)
        );
    }
}
