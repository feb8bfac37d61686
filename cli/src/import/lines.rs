//! A line of a file -> an event with an id. Pure.

use event::{ConversationId, EventId, EventType, TenantId, Timestamp};
use uuid::Uuid;

use super::ids;
use crate::output::Row;

/// Values for lines that lack them.
#[derive(Clone, Debug, Default)]
pub(super) struct Defaults {
    pub(super) conversation: Option<ConversationId>,
    pub(super) event_type: Option<EventType>,
}

/// A line that can be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadyLine {
    pub(super) conversation: String,
    /// The id under which the event is read back.
    pub(super) event_id: Uuid,
    pub(super) line: String,
}

/// The error of a line that cannot be sent; the codes are those of ingest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    pub(super) code: String,
    pub(super) detail: String,
}

impl BadLine {
    pub(super) fn too_long(max_bytes: usize) -> Self {
        let detail = format!("it is longer than {max_bytes} bytes, the most that ingest takes");
        bad("line_too_long", detail)
    }
}

fn bad(code: &str, detail: impl ToString) -> BadLine {
    BadLine {
        code: code.to_owned(),
        detail: detail.to_string(),
    }
}

/// Completes the event of a line; `None` when the line is empty. `number` counts from 1; it is part of a
/// derived id.
pub(super) fn prepare(
    line: &[u8],
    number: u64,
    defaults: &Defaults,
) -> Result<Option<ReadyLine>, BadLine> {
    let text = str::from_utf8(line)
        .map_err(|error| bad("invalid_json", error))?
        // Files that were joined have a byte order mark in the middle.
        .trim_start_matches('\u{feff}')
        .trim();
    if text.is_empty() {
        return Ok(None);
    }
    let mut row: Row = serde_json::from_str(text).map_err(|error| bad("invalid_json", error))?;
    let conversation = defaults.conversation.as_ref().map(ConversationId::as_str);
    let event_type = defaults.event_type.as_ref().map(EventType::as_str);
    let own_id = ids::derived(Timestamp::default(), &[line, &number.to_le_bytes()]).to_string();
    let changed = [
        fill(&mut row, "conversation_id", conversation),
        fill(&mut row, "type", event_type),
        fill(&mut row, "event_id", Some(&own_id)),
    ];
    require(
        &row,
        "conversation_id",
        "missing_conversation",
        "--conversation",
    )?;
    require(&row, "type", "missing_type", "--type")?;
    let conversation = ConversationId::new(&row.text("conversation_id"))
        .map_err(|error| bad("invalid_conversation_id", error))?;
    let event_id = EventId::from_text(
        &TenantId::default_tenant(),
        &conversation,
        &row.text("event_id"),
    );
    let (event_id, _) = event_id.map_err(|error| bad("invalid_event_id", error))?;
    Ok(Some(ReadyLine {
        conversation: conversation.to_string(),
        event_id: Uuid::from_u128(event_id.as_u128()),
        line: if changed.contains(&true) {
            row.json()
        } else {
            text.to_owned()
        },
    }))
}

fn is_absent(row: &Row, name: &str) -> bool {
    row.get(name).is_none_or(|value| value.get() == "null")
}

fn require(row: &Row, name: &str, code: &str, flag: &str) -> Result<(), BadLine> {
    if !is_absent(row, name) {
        return Ok(());
    }
    let detail = format!(
        "{name} is missing: write it in the line, or give one for all lines without it with {flag}"
    );
    Err(bad(code, detail))
}

/// Sets a field that is absent or null; true when it did.
fn fill(row: &mut Row, name: &str, value: Option<&str>) -> bool {
    let Some(value) = value.filter(|_| is_absent(row, name)) else {
        return false;
    };
    row.remove(name);
    *row = std::mem::take(row).with(name, value);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Defaults {
        Defaults {
            conversation: Some("c".parse().unwrap()),
            event_type: Some("log.line".parse().unwrap()),
        }
    }

    #[test]
    fn fields_of_a_line_take_precedence_and_stay_unchanged() {
        let line = br#" {"conversation_id":"a","type":"t","event_id":"x","n":1.50} "#;
        let ready = prepare(line, 1, &defaults()).unwrap().unwrap();
        assert_eq!(ready.line, str::from_utf8(line).unwrap().trim());
        assert_eq!(ready.conversation, "a");
    }

    #[test]
    fn missing_fields_are_filled_in_deterministically() {
        let line = br#"{"content":"x","type":null}"#;
        let first = prepare(line, 1, &defaults()).unwrap().unwrap();
        assert_eq!(first, prepare(line, 1, &defaults()).unwrap().unwrap());
        assert_ne!(
            first.event_id,
            prepare(line, 2, &defaults()).unwrap().unwrap().event_id
        );
        let id = first.event_id;
        assert_eq!(
            first.line,
            format!(
                r#"{{"content":"x","conversation_id":"c","type":"log.line","event_id":"{id}"}}"#
            )
        );
    }

    #[test]
    fn a_line_that_is_no_event_says_why() {
        assert_eq!(prepare(b" \r", 1, &defaults()), Ok(None));
        for (line, code) in [
            (&b"[1]"[..], "invalid_json"),
            (b"{", "invalid_json"),
            (b"{\"content\":\"\xff\"}", "invalid_json"),
            (b"{\"conversation_id\":\"a b\"}", "invalid_conversation_id"),
            (b"{\"event_id\":\"\"}", "invalid_event_id"),
        ] {
            assert_eq!(prepare(line, 1, &defaults()).unwrap_err().code, code);
        }
    }

    #[test]
    fn a_missing_field_is_named_with_the_flag_that_gives_it() {
        for (line, code, field, flag) in [
            (
                r#"{"conversation_id":null,"type":"t"}"#,
                "missing_conversation",
                "conversation_id is missing",
                "--conversation",
            ),
            (
                r#"{"conversation_id":"a"}"#,
                "missing_type",
                "type is missing",
                "--type",
            ),
        ] {
            let bad = prepare(line.as_bytes(), 1, &Defaults::default()).unwrap_err();
            assert_eq!(bad.code, code);
            assert!(bad.detail.contains(field), "{}", bad.detail);
            assert!(bad.detail.contains(flag), "{}", bad.detail);
        }
    }
}
