//! A job and its answer over a socket.

use std::{collections::BTreeSet, io::Write as _, os::unix::net::UnixStream, thread};

use event::Timestamp;

use super::{Answer, START, encode, events, limits, texts};
use crate::sql::{Columns, Job, Limits, Received, Select, SqlError, Table, TableRows};

fn job(sql: &str, limits: Limits) -> Job {
    Job {
        sql: sql.to_owned(),
        limits,
        encoding: "arrow".to_owned(),
    }
}

fn run_remotely_within(limits: Limits, sql: &str) -> Result<(Select, Answer), SqlError> {
    let (near, there) = UnixStream::pair().unwrap();
    let serving = thread::spawn(move || {
        let received = Received::read(there.try_clone().unwrap(), there).unwrap();
        assert_eq!(received.limits().timeout, limits.timeout);
        received.execute(&encode).unwrap().send().unwrap();
    });
    let batch = events();
    let answer = job(sql, limits).parse(near.try_clone().unwrap(), near);
    let answer = answer.and_then(|(select, parsed)| {
        let rows = TableRows {
            table: Table::Events,
            schema: batch.schema(),
            batches: vec![batch.clone(), batch],
        };
        let chunks = parsed.run(vec![rows], || ())?;
        let chunks: Vec<_> = chunks.collect::<Result<_, _>>().unwrap();
        Ok((select, Answer::decode(&chunks.concat())))
    });
    serving.join().unwrap();
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
    let error = job("SELECT 1", limits()).parse(near.try_clone().unwrap(), near);
    let error = error.unwrap_err();
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
fn a_process_that_ends_without_an_answer_is_an_error() {
    let (near, there) = UnixStream::pair().unwrap();
    drop(there);
    let error = job("SELECT 1", limits()).parse(near.try_clone().unwrap(), near);
    let error = error.unwrap_err();
    assert!(matches!(error, SqlError::Died), "{error:?}");
}
