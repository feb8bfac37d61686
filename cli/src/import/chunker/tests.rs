use std::collections::{BTreeMap, HashSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

const START: i64 = 1_763_629_200_000_000;

fn row(
    rowid: i64,
    conversation: &str,
    chunk: &[u8],
    parsed: Option<&str>,
    micros: i64,
) -> LegacyRow {
    LegacyRow {
        rowid,
        id: format!("id-{rowid}"),
        conversation: conversation.parse().unwrap(),
        chunk: chunk.to_vec(),
        parsed_data: parsed.map(str::to_owned),
        at: Timestamp::from_micros(START + micros),
    }
}

/// An event as ingest would receive it.
#[derive(Debug, Deserialize)]
struct SentEvent {
    conversation_id: String,
    #[serde(rename = "type")]
    event_type: String,
    content: String,
    content_encoding: Option<String>,
    metadata: serde_json::Value,
}

impl SentEvent {
    fn bytes(&self) -> Vec<u8> {
        match self.content_encoding {
            Some(_) => STANDARD.decode(&self.content).unwrap(),
            None => self.content.clone().into_bytes(),
        }
    }
}

fn sent(planned: &[PlannedEvent]) -> Vec<SentEvent> {
    planned
        .iter()
        .map(|planned| serde_json::from_str(&planned.line).unwrap())
        .collect()
}

fn plan_with(rows: &[LegacyRow], ends: &[i64]) -> Vec<PlannedEvent> {
    let resume_point = ResumePoint {
        ends: ends.to_vec(),
        ..ResumePoint::start()
    };
    let mut chunker = Chunker::new("db", resume_point);
    let mut planned: Vec<_> = rows
        .iter()
        .flat_map(|row| chunker.push(row).unwrap())
        .collect();
    planned.extend(chunker.finish(i64::MAX).unwrap());
    planned
}

fn plan(rows: &[LegacyRow]) -> Vec<PlannedEvent> {
    plan_with(rows, &[])
}

fn texts(rows: &[LegacyRow]) -> Vec<String> {
    let sent = sent(&plan(rows));
    sent.iter()
        .map(|sent| String::from_utf8_lossy(&sent.bytes()).into_owned())
        .collect()
}

#[test]
fn characters_without_a_pause_become_one_event() {
    let rows = [
        row(1, "a", b"h", None, 0),
        row(2, "a", b"i", None, 1_000_000),
        row(3, "a", b"!", None, 2_000_001),
    ];
    assert_eq!(texts(&rows), ["hi", "!"]);
}

#[test]
fn conversations_do_not_break_each_other_and_rows_with_data_stand_alone() {
    let rows = [
        row(1, "a", b"x", None, 0),
        row(2, "b", b"1", None, 0),
        row(3, "a", b"y", None, 0),
        row(
            4,
            "a",
            b"ls",
            Some(r#"{"type":"tool.call","step":1.50}"#),
            0,
        ),
        row(5, "a", b"z", None, 0),
    ];
    let planned = plan(&rows);
    let of_a: Vec<&PlannedEvent> = planned
        .iter()
        .filter(|event| event.conversation == "a")
        .collect();
    assert_eq!(texts(&rows)[..2], ["xy", "ls"]);
    let legacy = r#""metadata":{"legacy":{"first_id":"id-1","rows":2}}"#;
    assert!(of_a[0].line.contains(legacy), "{}", of_a[0].line);
    let call = r#""metadata":{"step":1.50,"legacy":{"first_id":"id-4","rows":1}}"#;
    assert!(of_a[1].line.contains(call), "{}", of_a[1].line);
    assert_eq!(sent(&planned)[1].event_type, "tool.call");
}

#[test]
fn a_chunk_is_full_at_four_kibibytes() {
    let rows: Vec<LegacyRow> = (1..=5000).map(|n| row(n, "a", b"x", None, 0)).collect();
    let lengths: Vec<usize> = texts(&rows).iter().map(String::len).collect();
    assert_eq!(lengths, [4096, 904]);
}

#[test]
fn bytes_that_are_no_text_go_as_base64_by_themselves() {
    let chunks: [&[u8]; 5] = [b"a", b"\xff", b"\0b", b"c", b"d"];
    let rows: Vec<LegacyRow> = (1..)
        .zip(chunks)
        .map(|(n, chunk)| row(n, "a", chunk, None, 0))
        .collect();
    let sent = sent(&plan(&rows));
    let bytes: Vec<Vec<u8>> = sent.iter().map(SentEvent::bytes).collect();
    assert_eq!(bytes, [&b"a"[..], b"\xff\0b", b"cd"]);
    assert_eq!(sent[1].content_encoding.as_deref(), Some("base64"));
}

#[test]
fn a_row_too_large_for_one_event_becomes_several() {
    let chunk = "é".repeat(200_000);
    let parsed = format!(r#"{{"type":"t","big":"{}"}}"#, "\\\"".repeat(60_000));
    for (chunk, parsed) in [
        (&chunk[..], Some(&parsed[..])),
        (&chunk, None),
        ("", Some(&parsed)),
    ] {
        let planned = plan(&[row(1, "a", chunk.as_bytes(), parsed, 0)]);
        let sent = sent(&planned);
        let joined: Vec<u8> = sent.iter().flat_map(SentEvent::bytes).collect();
        assert_eq!(joined, chunk.as_bytes());
        assert!(sent.iter().all(|sent| sent.content_encoding.is_none()));
        assert!(
            planned
                .iter()
                .all(|planned| planned.line.len() < event::MAX_EVENT_BYTES)
        );
        let data: String = sent
            .iter()
            .filter_map(|sent| sent.metadata["legacy"]["parsed_data"].as_str())
            .collect();
        let kept_in_place = sent[0].metadata["big"].is_string();
        assert!(kept_in_place || data == parsed.unwrap_or_default());
        let ids: HashSet<Uuid> = planned.iter().map(|planned| planned.event_id).collect();
        assert_eq!(ids.len(), planned.len());
    }
}

#[test]
fn a_chunk_does_not_reach_over_the_whole_table() {
    let rows = [
        row(1, "a", b"x", None, 0),
        row(1 + MAX_ROWID_SPAN, "a", b"y", None, 0),
    ];
    assert_eq!(texts(&rows), ["x", "y"]);
}

#[test]
fn rows_that_changed_before_the_resume_point_are_detected() {
    let rows: Vec<LegacyRow> = (1..=4).map(|n| row(n, "a", b"x", None, 0)).collect();
    let mut chunker = Chunker::new("db", ResumePoint::start());
    rows[..3]
        .iter()
        .for_each(|row| assert!(chunker.push(row).unwrap().is_empty()));
    let mut resumed = Chunker::new("db", chunker.resume_point());
    assert_eq!(resumed.push(&rows[3]).unwrap_err(), TableChanged);
    assert_eq!(
        Chunker::new("db", chunker.resume_point())
            .finish(3)
            .unwrap_err(),
        TableChanged
    );
}

fn rows() -> impl Strategy<Value = Vec<LegacyRow>> {
    let chunk = prop_oneof![
        6 => "[a-zé\u{1f600}]".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
        1 => (2000..5000_usize).prop_map(|n| vec![b'x'; n]),
    ];
    let row = (
        0..3_u8,
        chunk,
        0..12_u8,
        1..3_i64,
        prop_oneof![9 => 0..300_000_i64, 1 => 0..2_000_000_i64],
    );
    proptest::collection::vec(row, 0..120).prop_map(|rows| {
        let (mut micros, mut rowid) = (0, 0);
        let rows = rows
            .into_iter()
            .map(|(conversation, chunk, kind, step, gap)| {
                micros += gap;
                rowid += step * if kind == 1 { MAX_ROWID_SPAN / 3 } else { 1 };
                let parsed = (kind == 0).then_some(r#"{"type":"tool.call"}"#);
                self::row(rowid, &format!("c{conversation}"), &chunk, parsed, micros)
            });
        rows.collect()
    })
}

fn joined(parts: impl Iterator<Item = (String, Vec<u8>)>) -> BTreeMap<String, Vec<u8>> {
    let mut joined: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    parts.for_each(|(name, bytes)| joined.entry(name).or_default().extend(bytes));
    joined
}

proptest! {
    #[test]
    fn the_joined_text_never_changes(rows in rows()) {
        let before = joined(rows.iter().map(|row| (row.conversation.to_string(), row.chunk.clone())));
        let sent = sent(&plan(&rows));
        let after = joined(sent.iter().map(|sent| (sent.conversation_id.clone(), sent.bytes())));
        prop_assert_eq!(before, after);
    }

    #[test]
    fn borders_and_ids_do_not_depend_on_where_runs_were_cut(
        rows in rows(), cuts in proptest::collection::vec(0..120_usize, 0..4), end in 0..200_i64,
    ) {
        let ends = [end];
        let whole = plan_with(&rows, &ends);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(rows.len())).collect();
        cuts.sort_unstable();
        cuts.push(rows.len());
        let mut planned = Vec::new();
        let mut resume_point = ResumePoint { ends: ends.to_vec(), ..ResumePoint::start() };
        for cut in cuts {
            let saved = serde_json::to_string(&resume_point).unwrap();
            let resumed: ResumePoint = serde_json::from_str(&saved).unwrap();
            let after = resumed.read_after();
            let mut chunker = Chunker::new("db", resumed);
            for row in rows[..cut].iter().filter(|row| row.rowid > after) {
                planned.extend(chunker.push(row).unwrap());
            }
            resume_point = chunker.resume_point();
            if cut == rows.len() {
                let mut last = Chunker::new("db", resume_point.clone());
                for row in rows.iter().filter(|row| row.rowid > resume_point.read_after()) {
                    prop_assert!(last.push(row).unwrap().is_empty());
                }
                planned.extend(last.finish(i64::MAX).unwrap());
                break;
            }
        }
        prop_assert_eq!(planned, whole);
    }

    #[test]
    fn ids_are_unique_and_can_be_made_again_from_the_event(rows in rows()) {
        let planned = plan(&rows);
        let ids: HashSet<Uuid> = planned.iter().map(|planned| planned.event_id).collect();
        prop_assert_eq!(ids.len(), planned.len());
        for (planned, sent) in planned.iter().zip(sent(&planned)) {
            let origin = Origin::deserialize(&sent.metadata["legacy"]).unwrap();
            let line: serde_json::Value = serde_json::from_str(&planned.line).unwrap();
            let at = line["timestamp"].as_str().unwrap().parse().unwrap();
            prop_assert_eq!(event_id("db", &planned.conversation, at, &origin), planned.event_id);
        }
    }
}
