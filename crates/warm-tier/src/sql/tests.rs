use std::{collections::BTreeSet, io::Write, sync::Arc, time::Duration};

use arrow::{
    array::{Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use event::Timestamp;

use super::*;

mod functions;
mod refusals;
mod wire;

const START: i64 = 1_763_629_200_000_000; // 2025-11-20T09:00:00Z

fn events() -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("conversation_id", DataType::Utf8, false),
        Field::new("type", DataType::Utf8, false),
        Field::new(
            "timestamp",
            DataType::Timestamp(TimeUnit::Microsecond, None),
            false,
        ),
        Field::new("content", DataType::Utf8, false),
        Field::new("generation", DataType::Int32, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("epoch", DataType::Int32, false),
        Field::new("seq", DataType::Int64, false),
        Field::new("idx", DataType::Int32, false),
    ]);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(StringArray::from(vec!["a", "a", "b"])),
            Arc::new(StringArray::from(vec![
                "output.chunk",
                "error",
                "output.chunk",
            ])),
            Arc::new(TimestampMicrosecondArray::from(vec![
                START,
                START + 1,
                START + 2,
            ])),
            Arc::new(StringArray::from(vec!["one", "two", "three"])),
            Arc::new(Int32Array::from(vec![1; 3])),
            Arc::new(Int32Array::from(vec![7; 3])),
            Arc::new(Int32Array::from(vec![1; 3])),
            Arc::new(Int64Array::from(vec![41, 42, 42])),
            Arc::new(Int32Array::from(vec![0, 0, 1])),
        ],
    )
    .unwrap()
}

fn limits() -> Limits {
    Limits {
        memory_bytes: 128 << 20,
        timeout: Duration::from_secs(10),
        max_rows: 1000,
        max_bytes: 1 << 20,
        threads: 2,
    }
}

/// The rows of an answer that was encoded by [`encode`].
#[derive(Debug)]
struct Answer {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Answer {
    fn decode(encoded: &[u8]) -> Self {
        let rows = StreamReader::try_new(encoded, None).unwrap();
        let schema = rows.schema();
        let batches = rows.collect::<Result<_, _>>().unwrap();
        Self { schema, batches }
    }
}

/// An encoder that writes an Arrow stream.
fn encode(
    encoding: &str,
    schema: &SchemaRef,
    batches: &mut dyn Iterator<Item = RecordBatch>,
    out: &mut dyn Write,
) -> Result<(), EncodeError> {
    assert_eq!(encoding, "arrow");
    let mut writer = StreamWriter::try_new(out, schema)?;
    for batch in batches {
        writer.write(&batch)?;
    }
    Ok(writer.finish()?)
}

fn sandbox(limits: Limits) -> Result<Sandbox, SqlError> {
    Sandbox::open(limits.memory_bytes, limits.threads, None)
}

fn only_rows(table: Table, rows: &RecordBatch) -> TableSources {
    let schema = rows.schema();
    let fields = schema.fields().iter();
    TableSources {
        table,
        columns: fields.map(|field| field.name().clone()).collect(),
        tenant: "default".to_owned(),
        slices: Vec::new(),
        runs: Vec::new(),
    }
}

/// Runs `sql` over the rows `batch` of `table` in `sandbox`.
fn run_in(
    sandbox: &mut Sandbox,
    limits: Limits,
    sql: &str,
    (table, batch): (Table, RecordBatch),
) -> Result<Answer, SqlError> {
    let select = sandbox.parse(sql)?;
    let mut session = sandbox.begin(limits, [])?;
    let answer = session
        .create(&only_rows(table, &batch))
        .and_then(|()| session.load(table, batch))
        .and_then(|()| session.run(&select, "arrow", &encode));
    session.end()?;
    Ok(Answer::decode(&answer?))
}

fn run_with(limits: Limits, sql: &str) -> Result<Answer, SqlError> {
    run_in(
        &mut sandbox(limits)?,
        limits,
        sql,
        (Table::Events, events()),
    )
}

fn run(sql: &str) -> Result<Answer, SqlError> {
    run_with(limits(), sql)
}

fn texts(answer: &Answer) -> Vec<String> {
    let column = |batch: &RecordBatch| {
        let column = batch
            .column(0)
            .as_any()
            .downcast_ref::<StringArray>()
            .unwrap()
            .clone();
        column
            .iter()
            .map(|text| text.unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    answer.batches.iter().flat_map(column).collect()
}

fn parse(sql: &str) -> Result<Select, SqlError> {
    sandbox(limits()).unwrap().parse(sql)
}

#[test]
fn a_select_sees_the_rows_it_was_given_with_their_positions() {
    let answer =
        run("SELECT position FROM events WHERE conversation_id = 'a' ORDER BY 1;").unwrap();
    assert_eq!(
        texts(&answer),
        [
            "0001-0007-0001-00000000000000000041-0000",
            "0001-0007-0001-00000000000000000042-0000"
        ]
    );
}

#[test]
fn a_sandbox_runs_one_statement_after_the_other_and_nothing_of_one_is_left_for_the_next() {
    let mut sandbox = sandbox(limits()).unwrap();
    let mut ask = |sql: &str| {
        let rows = (Table::Events, events());
        run_in(&mut sandbox, limits(), sql, rows).map(|answer| texts(&answer))
    };
    assert_eq!(ask("SELECT content FROM events LIMIT 1").unwrap(), ["one"]);
    ask("SELECT error('no') FROM events").unwrap_err();
    for internal in ["answer", "events_rows"] {
        let refused = ask(&format!("SELECT * FROM {internal}"));
        assert!(
            matches!(refused, Err(SqlError::NotAllowed(_))),
            "{refused:?}"
        );
    }
    let count = "SELECT count(*)::VARCHAR FROM events";
    assert_eq!(ask(count).unwrap(), ["3"]);
}

#[test]
fn metadata_that_is_no_json_breaks_no_statement_over_other_rows() {
    let schema = Arc::new(Schema::new(vec![Field::new(
        "metadata",
        DataType::Utf8,
        true,
    )]));
    let cut = r#"{"tool":"cat","out":"\ud83d"}"#;
    let metadata = [
        Some(r#"{"tool":"ls"}"#),
        Some(cut),
        Some(""),
        Some("{"),
        None,
    ];
    let column = Arc::new(StringArray::from(metadata.to_vec()));
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap();
    let ask = |sql: &str| {
        let mut sandbox = sandbox(limits()).unwrap();
        let rows = (Table::Events, rows.clone());
        texts(&run_in(&mut sandbox, limits(), sql, rows).unwrap())
    };
    let tools = "SELECT coalesce(metadata->>'tool', '-') AS t FROM events ORDER BY t";
    assert_eq!(ask(tools), ["-", "-", "-", "-", "ls"]);
    let all = "SELECT json_extract_string(metadata, '$') FROM events WHERE metadata LIKE '%cat%'";
    assert_eq!(ask(all), [cut], "its text is still there");
}

#[test]
fn the_order_of_the_statement_is_the_order_of_the_answer() {
    let answer = run("SELECT content FROM events ORDER BY content DESC -- the end").unwrap();
    assert_eq!(texts(&answer), ["two", "three", "one"]);
}

#[test]
fn an_answer_without_rows_still_has_its_columns() {
    let answer = run("SELECT content, seq FROM events WHERE false").unwrap();
    assert_eq!(answer.schema.fields().len(), 2);
    assert!(answer.batches.iter().all(|batch| batch.num_rows() == 0));
}

#[test]
fn an_endless_statement_is_interrupted() {
    let short = Limits {
        timeout: Duration::from_millis(300),
        ..limits()
    };
    let error = run_with(
        short,
        "SELECT count(*) FROM range(1000000000000) a, range(1000) b WHERE hash(a.range, b.range) = 1",
    )
    .unwrap_err();
    assert!(matches!(error, SqlError::Timeout(_)), "{error:?}");
    let error = run_with(
        short,
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n FROM t) SELECT count(*) FROM t",
    )
    .unwrap_err();
    assert!(
        matches!(error, SqlError::Timeout(_) | SqlError::Memory(_)),
        "{error:?}"
    );
}

#[test]
fn answers_and_memory_are_bounded() {
    let error = run("SELECT * FROM range(1001)").unwrap_err();
    assert!(
        matches!(error, SqlError::ResultTooLarge { .. }),
        "{error:?}"
    );
    assert!(run("SELECT * FROM range(1000)").is_ok());
    let error = run("SELECT string_agg(range::VARCHAR, ',') FROM range(1000000)").unwrap_err();
    assert!(
        matches!(error, SqlError::ResultTooLarge { .. }),
        "{error:?}"
    );
    let error = run("SELECT list(range ORDER BY hash(range)) FROM range(30000000)").unwrap_err();
    assert!(matches!(error, SqlError::Memory(_)), "{error:?}");
}

#[test]
fn describe_and_with_are_selects() {
    assert!(run("DESCRIBE events").is_ok());
    assert!(run("SUMMARIZE events").is_ok());
    let answer = run("WITH e AS (FROM events) SELECT content FROM e WHERE seq = 41").unwrap();
    assert_eq!(texts(&answer), ["one"]);
    assert!(run("SELECT a.content FROM events a JOIN events b USING (seq, idx)").is_ok());
    assert!(run("SELECT * FROM (VALUES (1, 'x')) t(a, b), unnest([1, 2]) u(c)").is_ok());
}

#[test]
fn a_common_table_expression_shadows_a_table_where_it_is_visible_and_only_there() {
    let tables = |sql: &str| parse(sql).unwrap().tables.into_iter().collect::<Vec<_>>();
    for (sql, read) in [
        ("WITH events AS (SELECT 1) FROM Events", vec![]),
        (
            "WITH \"Events\" AS (SELECT 1) SELECT (SELECT count(*) FROM events)",
            vec![],
        ),
        (
            "WITH x AS (WITH events AS (SELECT 1) FROM events) FROM x",
            vec![],
        ),
        (
            "WITH events AS (FROM events) FROM events",
            vec![Table::Events],
        ),
        (
            "WITH events AS (SELECT 1) FROM main.events",
            vec![Table::Events],
        ),
        (
            "WITH x AS (WITH events AS (SELECT 1) FROM events) SELECT 1 FROM x, events",
            vec![Table::Events],
        ),
        (
            "SELECT 1 UNION ALL (WITH events AS (SELECT 1) FROM events)",
            vec![],
        ),
        (
            "WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM t WHERE a < 3) FROM t",
            vec![],
        ),
        (
            "WITH x AS (SELECT 1 AS a), y AS (WITH z AS (FROM x) FROM z) SELECT * FROM y ORDER BY \
             (SELECT max(a) FROM x)",
            vec![],
        ),
    ] {
        assert_eq!(tables(sql), read, "{sql}");
        assert!(run(sql).is_ok(), "{sql}");
    }
}

#[test]
fn only_what_is_referenced_is_needed() {
    let tables = |sql: &str| parse(sql).unwrap().tables.into_iter().collect::<Vec<_>>();
    assert_eq!(tables("SELECT 1"), []);
    assert_eq!(tables("SELECT * FROM Events"), [Table::Events]);
    assert_eq!(
        tables("SELECT (SELECT max(hour) FROM hourly_stats) FROM events"),
        [Table::Events, Table::HourlyStats]
    );
    let columns = |sql: &str| parse(sql).unwrap().columns;
    assert_eq!(columns("SELECT * FROM events"), Columns::All);
    assert_eq!(columns("SELECT e FROM events e"), Columns::All);
    assert_eq!(columns("SELECT events FROM events"), Columns::All);
    assert_eq!(
        columns("SELECT count(*) FROM events NATURAL JOIN events x"),
        Columns::All
    );
    let some = columns("SELECT Content FROM events e WHERE e.\"type\" = 'x' ORDER BY position");
    for (name, needed) in [
        ("content", true),
        ("type", true),
        ("seq", true),
        ("metadata", false),
    ] {
        assert_eq!(some.needs(name), needed, "{name}");
    }
    assert!(!columns("SELECT count(*) FROM events").needs("content"));
    assert!(columns("SELECT a.seq FROM events a JOIN events b USING (task_id)").needs("task_id"));
}

#[test]
fn conditions_on_one_table_are_pushed_down() {
    let pushed = |sql: &str| parse(sql).unwrap().pushdown;
    let set = |texts: &[&str]| Some(texts.iter().map(ToString::to_string).collect());
    let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    let all = pushed(
        "SELECT count(*) FROM events e WHERE conversation_id = 'a' AND e.type IN ('x', 'y') \
         AND timestamp >= '2026-11-20' AND '2026-11-21 12:00:00' > timestamp AND seq > 3",
    );
    assert_eq!(all.conversations, set(&["a"]));
    assert_eq!(all.types, set(&["x", "y"]));
    assert_eq!(all.timestamp_from, at("2026-11-20T00:00:00Z"));
    assert_eq!(all.timestamp_to, at("2026-11-21T12:00:00Z"));
    let between = pushed(
        "SELECT * FROM (SELECT * FROM events WHERE timestamp BETWEEN TIMESTAMP '2026-11-20' \
         AND DATE '2026-11-20' + INTERVAL 1 HOUR)",
    );
    assert_eq!(between.timestamp_from, at("2026-11-20T00:00:00Z"));
    assert_eq!(between.timestamp_to, at("2026-11-20T01:00:00Z"));
    let recent = pushed("SELECT * FROM events WHERE timestamp > now() - INTERVAL '1 hour'");
    let age = Timestamp::now().since(recent.timestamp_from.unwrap());
    assert!(
        age >= Duration::from_secs(3600) && age < Duration::from_secs(3660),
        "{age:?}"
    );
    let two = pushed("SELECT * FROM events WHERE type = 'x' AND type IN ('x', 'y')");
    assert_eq!(two.types, set(&["x"]));
}

#[test]
fn conditions_that_not_every_row_must_fulfil_are_not_pushed_down() {
    for sql in [
        "SELECT * FROM events",
        "SELECT * FROM events WHERE type = 'x' OR seq = 1",
        "SELECT * FROM events WHERE NOT type = 'x'",
        "SELECT * FROM events WHERE type <> 'x'",
        "SELECT * FROM events WHERE type NOT IN ('x')",
        "SELECT * FROM events WHERE type = conversation_id",
        "SELECT * FROM events WHERE lower(type) = 'x'",
        "SELECT * FROM events WHERE type IN (SELECT 'x')",
        "SELECT * FROM events WHERE timestamp < now()",
        "SELECT * FROM events WHERE timestamp > to_timestamp(random())",
        "SELECT * FROM events a, events b WHERE a.type = 'x'",
        "SELECT * FROM events a LEFT JOIN (SELECT 'x' AS type) b ON true WHERE b.type = 'x'",
        "SELECT * FROM events TABLESAMPLE reservoir(2 ROWS) WHERE type = 'x'",
        "SELECT * FROM events AS e(type, b, c, d) WHERE type = 'x'",
        "SELECT *, count(*) OVER () FROM (SELECT * FROM events) e WHERE type = 'x'",
        "SELECT count(*) FROM events HAVING count(*) = 1",
    ] {
        assert_eq!(parse(sql).unwrap().pushdown, Pushdown::default(), "{sql}");
    }
}

#[test]
fn rollup_rows_of_many_ranges_are_one_row_of_the_view() {
    let schema = Schema::new(vec![
        Field::new(
            "hour",
            DataType::Timestamp(TimeUnit::Microsecond, None),
            false,
        ),
        Field::new("type", DataType::Utf8, false),
        Field::new("events", DataType::Int64, false),
        Field::new("bytes", DataType::Int64, false),
    ]);
    let batch = RecordBatch::try_new(
        Arc::new(schema.clone()),
        vec![
            Arc::new(TimestampMicrosecondArray::from(vec![START; 3])),
            Arc::new(StringArray::from(vec!["x", "x", "y"])),
            Arc::new(Int64Array::from(vec![1, 2, 4])),
            Arc::new(Int64Array::from(vec![10, 20, 40])),
        ],
    )
    .unwrap();
    let sql = "SELECT type || events || '/' || bytes FROM hourly_stats ORDER BY 1";
    let mut sandbox = sandbox(limits()).unwrap();
    let answer = run_in(&mut sandbox, limits(), sql, (Table::HourlyStats, batch));
    assert_eq!(texts(&answer.unwrap()), ["x3/30", "y4/40"]);
}
