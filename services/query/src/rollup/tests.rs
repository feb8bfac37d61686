use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};

use super::*;

/// An event, whose rollup rows are those of a range with nothing else.
struct Row {
    conversation: &'static str,
    seq: i64,
    kind: String,
    micros: i64,
    bytes: i64,
}

fn row(conversation: &'static str, seq: i64, kind: &str, micros: i64, bytes: i64) -> Row {
    let kind = kind.to_owned();
    Row {
        conversation,
        seq,
        kind,
        micros,
        bytes,
    }
}

fn longs(rows: &[Row], value: impl Fn(&Row) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(rows.iter().map(value)))
}

fn times(rows: &[Row], value: impl Fn(&Row) -> i64) -> ArrayRef {
    let values = rows.iter().map(value);
    Arc::new(TimestampMicrosecondArray::from_iter_values(values))
}

fn texts<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> &'a str) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
}

/// The columns `generation, partition, epoch, seq_lo, seq_hi`.
fn provenance(rows: &[Row]) -> [ArrayRef; 5] {
    let small = |value| -> ArrayRef { Arc::new(Int32Array::from(vec![value; rows.len()])) };
    let seq = || longs(rows, |row| row.seq);
    [small(1), small(0), small(1), seq(), seq()]
}

fn hours(rows: &[Row]) -> RecordBatch {
    let mut columns = vec![
        texts(rows, |_| "default"),
        times(rows, |row| {
            Timestamp::from_micros(row.micros).hour().as_micros()
        }),
        texts(rows, |row| &row.kind),
        longs(rows, |_| 1),
        longs(rows, |row| row.bytes),
    ];
    columns.extend(provenance(rows));
    RecordBatch::try_new(segment::hourly_stats_schema(), columns).unwrap()
}

fn summaries(rows: &[Row]) -> RecordBatch {
    let time = || times(rows, |row| row.micros);
    let mut columns = vec![
        texts(rows, |_| "default"),
        texts(rows, |row| row.conversation),
        longs(rows, |_| 1),
        longs(rows, |row| row.bytes),
        time(),
        time(),
        time(),
        longs(rows, |row| row.seq),
        Arc::new(Int32Array::from(vec![0; rows.len()])),
        longs(rows, |row| row.seq),
        longs(rows, |row| i64::from(row.kind == "error.tool")),
    ];
    columns.extend(provenance(rows));
    RecordBatch::try_new(segment::conversation_summary_schema(), columns).unwrap()
}

fn all() -> Vec<Row> {
    const HOUR: i64 = 3_600_000_000;
    vec![
        row("a", 1, "output.chunk", 50, 3),
        row("a", 2, "error.tool", 20, 5),
        row("b", 3, "output.chunk", HOUR + 1, 0),
        row("a", 4, "output.chunk", HOUR, 2),
        row("b", 5, "errand", 7, 1),
    ]
}

/// However the rows are cut into ranges, the sums are those of one full scan.
#[test]
fn rollups_of_disjoint_ranges_are_the_rollup_of_all() {
    let rows = all();
    let whole_hours = hourly_stats(&[hours(&rows)]);
    let whole = conversation_summaries(&[summaries(&rows)]);
    for cut in 0..=rows.len() {
        let (left, right) = rows.split_at(cut);
        // The later range first: the order of the answers must not matter.
        let parts = [right, left].map(hours);
        assert_eq!(hourly_stats(&parts), whole_hours, "cut at {cut}");
        let parts = [right, left].map(summaries);
        assert_eq!(conversation_summaries(&parts), whole, "cut at {cut}");
    }
}

#[test]
fn an_hour_has_a_bounded_number_of_types_and_exact_sums() {
    let limit = i64::try_from(MAX_HOURLY_TYPES).unwrap();
    // Five ranges, each with types of its own, and one type that all of them have.
    let ranges = (0..5_i64).map(|range| {
        let own = (0..limit).map(move |n| row("a", 1, &format!("own.{range}.{n}"), 0, 1));
        let rows: Vec<_> = own.chain([row("a", 1, "output.chunk", 0, 1)]).collect();
        hours(&rows)
    });
    let stats = hourly_stats(&ranges.collect::<Vec<_>>());
    let sum = |kind: &str| stats[&(Timestamp::from_micros(0), kind.to_owned())];
    assert_eq!(stats.len(), MAX_HOURLY_TYPES + 1);
    assert_eq!(sum("output.chunk").events, 5);
    assert_eq!(sum("own.0.0").events, 1);
    assert_eq!(sum(OTHER_TYPES).events, 4 * limit + 1);
    let bytes: i64 = stats.values().map(|sums| sums.bytes).sum();
    assert_eq!(bytes, 5 * limit + 5);
}

#[test]
fn a_summary_has_the_totals_of_its_rows() {
    let rows = all();
    let whole = conversation_summaries(&[summaries(&rows)]);
    let a = &whole["a"];
    assert_eq!((a.events, a.bytes, a.errors, a.last_seq), (3, 10, 1, 4));
    // The start is the first by position, not the earliest.
    assert_eq!(a.start, Timestamp::from_micros(50));
    assert_eq!(a.first, Timestamp::from_micros(20));
    assert_eq!((whole["b"].events, whole["b"].errors), (2, 0));
}
