use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn row(
    rowid: i64,
    conversation: &str,
    chunk: &str,
    parsed: Option<&str>,
    micros: i64,
) -> LegacyRow {
    LegacyRow {
        rowid,
        id: format!("id-{rowid}"),
        conversation: conversation.to_owned(),
        chunk: chunk.as_bytes().to_vec(),
        parsed_data: parsed.map(str::to_owned),
        timestamp: Timestamp::from_micros(1_763_629_200_000_000 + micros).to_string(),
    }
}

fn plan(rows: &[LegacyRow]) -> Vec<Planned> {
    let mut planner = Planner::new("db");
    let mut planned: Vec<Planned> = rows.iter().flat_map(|row| planner.push(row)).collect();
    planned.extend(planner.finish());
    planned
}

fn contents(rows: &[LegacyRow]) -> Vec<String> {
    let planned = plan(rows);
    planned
        .into_iter()
        .map(|event| String::from_utf8(event.content).unwrap())
        .collect()
}

#[test]
fn characters_of_one_moment_become_one_event() {
    let rows = [
        row(1, "a", "h", None, 0),
        row(2, "a", "i", None, 999_999),
        row(3, "a", "!", None, 2_100_000),
    ];
    assert_eq!(contents(&rows), ["hi", "!"]);
}

#[test]
fn conversations_do_not_mix_and_rows_with_data_stand_alone() {
    let rows = [
        row(1, "a", "x", None, 0),
        row(2, "b", "1", None, 0),
        row(3, "a", "y", None, 0),
        row(
            4,
            "a",
            "ls",
            Some(r#"{"type":"tool.call","task_id":"t","step":1.50}"#),
            0,
        ),
        row(5, "a", "z", None, 0),
    ];
    let planned = plan(&rows);
    let of_a: Vec<&Planned> = planned
        .iter()
        .filter(|event| event.conversation == "a")
        .collect();
    let texts: Vec<&[u8]> = of_a.iter().map(|event| event.content.as_slice()).collect();
    assert_eq!(texts, [&b"xy"[..], b"ls", b"z"]);
    let call = &of_a[1].line;
    assert!(
        call.contains(r#""type":"tool.call""#) && call.contains(r#""task_id":"t""#),
        "{call}"
    );
    assert!(call.contains(r#""metadata":{"step":1.50}"#), "{call}");
}

#[test]
fn data_that_is_no_object_is_kept_as_it_is() {
    for (parsed, kept) in [
        ("nonsense", r#""metadata":{"parsed_data":"nonsense"}"#),
        (r#"{"type":""}"#, r#""metadata":{"type":""}"#),
        (r#"{"type":7}"#, r#""type":"7""#),
    ] {
        let line = &plan(&[row(1, "a", "x", Some(parsed), 0)])[0].line;
        assert!(line.contains(kept), "{line}");
    }
}

#[test]
fn nul_characters_go_as_base64_and_empty_rows_stay_events() {
    let rows = [row(1, "a", "x\0y", None, 0), row(2, "a", "", Some("{}"), 0)];
    let planned = plan(&rows);
    assert!(planned[0].line.contains(r#""content_encoding":"base64""#));
    assert!(planned[1].line.contains(r#""content":"""#));
}

#[test]
fn a_very_large_row_becomes_several_events_cut_at_characters() {
    let text = "é".repeat(200_000);
    let rows = [row(1, "a", &text, None, 0)];
    let contents = contents(&rows);
    assert_eq!(contents.len(), 4);
    assert_eq!(contents.concat(), text);
}

#[test]
fn an_idle_chunk_is_closed_by_the_rows_of_others() {
    let mut rows = vec![row(1, "idle", "x", None, 0)];
    rows.extend((2..20_000).map(|n| row(n, "busy", "y", None, 0)));
    let mut planner = Planner::new("db");
    for row in &rows {
        planner.push(row);
    }
    assert!(!planner.open.contains_key("idle"));
}

#[test]
fn times_of_several_forms_are_understood() {
    let expected = time("2026-11-20T09:00:00Z");
    assert!(expected.is_some());
    for text in [
        "2026-11-20 09:00:00",
        "2026-11-20T10:00:00+01:00",
        "1795165200",
        "1795165200000",
    ] {
        assert_eq!(time(text), expected, "{text}");
    }
    assert_eq!(time("yesterday"), None);
}

fn rows() -> impl Strategy<Value = Vec<LegacyRow>> {
    let chunk = prop_oneof![
        prop::sample::select(vec!["a", "é", "😀", "\0", "\n", ""]).prop_map(str::to_owned),
        (1000..5000_usize).prop_map(|length| "x".repeat(length)),
    ];
    let row = (0..3_u8, chunk, 0..10_u8, 0..1_500_000_i64);
    prop::collection::vec(row, 0..60).prop_map(|rows| {
        let mut micros = 0;
        let rows = rows
            .into_iter()
            .zip(1..)
            .map(|((conversation, chunk, kind, gap), rowid)| {
                micros += gap;
                let parsed = (kind == 0).then_some(r#"{"type":"tool.call"}"#);
                self::row(rowid, &format!("c{conversation}"), &chunk, parsed, micros)
            });
        rows.collect()
    })
}

fn joined<'a>(parts: impl Iterator<Item = (&'a str, &'a [u8])>) -> BTreeMap<String, Vec<u8>> {
    let mut joined: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (conversation, bytes) in parts {
        joined
            .entry(conversation.to_owned())
            .or_default()
            .extend(bytes);
    }
    joined
}

proptest! {
    #[test]
    fn the_joined_text_never_changes(rows in rows()) {
        let before = joined(rows.iter().map(|row| (row.conversation.as_str(), row.chunk.as_slice())));
        let planned = plan(&rows);
        let after = joined(planned.iter().map(|event| (event.conversation.as_str(), event.content.as_slice())));
        prop_assert_eq!(before, after);
    }

    #[test]
    fn borders_and_ids_do_not_depend_on_where_a_run_was_cut(rows in rows(), cut in 0..60_usize) {
        let whole = plan(&rows);
        let cut = cut.min(rows.len());
        let mut planner = Planner::new("db");
        let mut planned: Vec<Planned> = rows[..cut].iter().flat_map(|row| planner.push(row)).collect();
        let saved = serde_json::to_string(&planner).unwrap();
        let mut planner: Planner = serde_json::from_str(&saved).unwrap();
        planned.extend(rows[cut..].iter().flat_map(|row| planner.push(row)));
        planned.extend(planner.finish());
        prop_assert_eq!(planned, whole);
    }

    #[test]
    fn ids_are_unique(rows in rows()) {
        let mut ids: Vec<Uuid> = plan(&rows).into_iter().map(|event| event.event_id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), count);
    }
}
