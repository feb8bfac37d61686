//! A job and its answer over a socket.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    io::{self, Cursor, Read, Write as _},
    os::unix::net::UnixStream,
    thread,
};

use arrow::array::RecordBatch;
use event::Timestamp;

use super::{Answer, START, encode, events, limits, only_rows, sandbox, texts};
use crate::sql::{Caller, Columns, Job, Limits, RowStream, Select, SqlError, Table, Work, serve};

type Process = Caller<UnixStream, UnixStream>;

/// Calls `ask` with a process that runs statements, and returns what that has worked on.
fn with_process<T>(ask: impl FnOnce(Process) -> T) -> (T, Vec<Work>) {
    let (near, there) = UnixStream::pair().unwrap();
    let serving = thread::spawn(move || {
        let works = RefCell::new(Vec::new());
        let note = |work| works.borrow_mut().push(work);
        let mut sandbox = sandbox(limits()).unwrap();
        let from = there.try_clone().unwrap();
        // It fails when its rows are cut off.
        let _ = serve(from, there, &mut sandbox, &encode, &note);
        works.into_inner()
    });
    let answer = ask(Caller::new(near.try_clone().unwrap(), near));
    (answer, serving.join().unwrap())
}

fn encoded(batch: &RecordBatch) -> Vec<u8> {
    let mut out = Vec::new();
    encode(
        "arrow",
        &batch.schema(),
        &mut std::iter::once(batch.clone()),
        &mut out,
    )
    .unwrap();
    out
}

/// Rows that cannot be read.
struct Lost;

impl Read for Lost {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the rest is lost"))
    }
}

/// Parses and runs `sql` over the events, twice each.
fn run_in(
    mut process: Process,
    limits: Limits,
    sql: &str,
) -> Result<(Select, Answer, Option<Process>), SqlError> {
    let select = process.parse(sql, limits)?;
    let (batch, job) = (
        events(),
        Job {
            sql: sql.to_owned(),
            limits,
            encoding: "arrow".to_owned(),
        },
    );
    let rows = [&batch; 2].map(|batch| RowStream::new(Cursor::new(encoded(batch))));
    let sources = only_rows(Table::Events, &batch);
    let mut chunks = process.run(job, vec![(sources, rows.into())])?;
    let encoded: Vec<_> = chunks.by_ref().collect::<Result<_, _>>().unwrap();
    let answer = Answer::decode(&encoded.concat());
    Ok((select, answer, chunks.into_process()))
}

fn run_remotely_within(limits: Limits, sql: &str) -> Result<(Select, Answer), SqlError> {
    let (answer, _) = with_process(|process| {
        let (select, answer, _) = run_in(process, limits, sql)?;
        Ok((select, answer))
    });
    answer
}

fn run_remotely(sql: &str) -> Result<Answer, SqlError> {
    run_remotely_within(limits(), sql).map(|(_, answer)| answer)
}

#[test]
fn the_other_process_says_what_the_statement_reads() {
    let sql = "SELECT content FROM events WHERE conversation_id = 'a' \
               AND timestamp >= TIMESTAMP '2025-11-20 09:00:00'";
    let (select, _) = run_remotely_within(limits(), sql).unwrap();
    assert_eq!(select.tables, BTreeSet::from([Table::Events]));
    assert!(matches!(&select.columns, Columns::Named(names) if names.contains("content")));
    let conversations = select.pushdown.conversations;
    assert_eq!(conversations, Some(BTreeSet::from(["a".to_owned()])));
    let from = select.pushdown.timestamp_from;
    assert_eq!(from, Some(Timestamp::from_micros(START)));
}

#[test]
fn an_answer_of_many_chunks_comes_back_whole_and_one_beyond_the_limit_is_an_error() {
    let sql = "SELECT repeat(content, 1000) FROM events, range(100) ORDER BY content";
    let large = Limits {
        max_bytes: 16 << 20,
        ..limits()
    };
    let (_, answer) = run_remotely_within(large, sql).unwrap();
    let rows: usize = answer.batches.iter().map(|batch| batch.num_rows()).sum();
    assert_eq!(rows, 600);
    let small = Limits {
        max_bytes: 1 << 20,
        ..limits()
    };
    let error = run_remotely_within(small, sql).unwrap_err();
    assert!(matches!(error, SqlError::ResultTooLarge { bytes, .. } if bytes == 1 << 20));
}

#[test]
fn a_process_that_says_too_much_is_not_listened_to() {
    let (near, mut there) = UnixStream::pair().unwrap();
    there.write_all(&[0xff; 4]).unwrap();
    let mut process = Caller::new(near.try_clone().unwrap(), near);
    let error = process.parse("SELECT 1", limits()).unwrap_err();
    assert!(matches!(error, SqlError::Died), "{error:?}");
}

#[test]
fn rows_go_there_and_the_answer_comes_back() {
    let answer = run_remotely("SELECT content FROM events ORDER BY content").unwrap();
    assert_eq!(
        texts(&answer),
        ["one", "one", "three", "three", "two", "two"]
    );
    let none = run_remotely("SELECT content FROM events WHERE false").unwrap();
    assert_eq!(none.schema.fields().len(), 1);
    run_remotely("SELECT [1], {'a': 1}, map {'k': 1}, INTERVAL 1 DAY, now(), 1::HUGEINT, NULL")
        .unwrap();
}

#[test]
fn an_error_comes_back_as_the_same_variant() {
    let error = run_remotely("DROP TABLE events_rows").unwrap_err();
    assert!(matches!(error, SqlError::NotAllowed(_)), "{error:?}");
    let error = run_remotely("SELECT nope FROM events").unwrap_err();
    assert!(error.to_string().contains("nope"), "{error:?}");
    let error = run_remotely("SELECT * FROM range(1001)").unwrap_err();
    assert!(matches!(error, SqlError::ResultTooLarge { rows: 1000, .. }));
}

#[test]
fn a_process_runs_one_statement_after_the_other_and_says_how_long_it_may_take() {
    let (answers, works) = with_process(|mut process| {
        let mut answers = Vec::new();
        for sql in ["SELECT 'a'", "SELECT content FROM events WHERE idx = 1"] {
            process
                .parse("SELECT nope FROM nowhere", limits())
                .unwrap_err();
            let (_, answer, next) = run_in(process, limits(), sql).unwrap();
            answers.push(texts(&answer).join(" "));
            process = next.unwrap();
        }
        answers
    });
    assert_eq!(answers, ["a", "three three"]);
    let statements = works
        .iter()
        .filter(|work| **work == Work::Statement(limits().timeout));
    assert_eq!(statements.count(), 6);
    assert_eq!(works.last(), Some(&Work::Waits));
}

#[test]
fn a_statement_whose_rows_end_with_an_error_is_not_run() {
    let (error, _) = with_process(|process| {
        let batch = events();
        let rows = RowStream::new(Cursor::new(encoded(&batch)[..100].to_vec()).chain(Lost));
        let job = Job {
            sql: "SELECT 1".to_owned(),
            limits: limits(),
            encoding: "arrow".to_owned(),
        };
        let sources = only_rows(Table::Events, &batch);
        process.run(job, vec![(sources, vec![rows])]).unwrap_err()
    });
    assert!(matches!(error, SqlError::Died), "{error:?}");
}

#[test]
fn a_process_that_ends_without_an_answer_is_an_error() {
    let (near, there) = UnixStream::pair().unwrap();
    drop(there);
    let mut process = Caller::new(near.try_clone().unwrap(), near);
    let error = process.parse("SELECT 1", limits()).unwrap_err();
    assert!(matches!(error, SqlError::Died), "{error:?}");
}
