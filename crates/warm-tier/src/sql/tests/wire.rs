//! A job and its answer over a socket.

use std::{os::unix::net::UnixStream, thread};

use super::{events, limits, texts};
use crate::sql::{Answer, Job, Received, SqlError, Table, TableRows};

fn run_remotely(sql: &str) -> Result<Answer, SqlError> {
    let (near, there) = UnixStream::pair().unwrap();
    let serving = thread::spawn(move || {
        let received = Received::read(there.try_clone().unwrap()).unwrap();
        assert_eq!(received.limits().timeout, limits().timeout);
        received.run(there).unwrap();
    });
    let batch = events();
    let job = Job {
        sql: sql.to_owned(),
        limits: limits(),
        tables: vec![TableRows {
            table: Table::Events,
            schema: batch.schema(),
            batches: vec![batch.clone(), batch],
        }],
    };
    let answer = job.ask(near.try_clone().unwrap(), near);
    serving.join().unwrap();
    answer
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
    let job = Job {
        sql: "SELECT 1".to_owned(),
        limits: limits(),
        tables: Vec::new(),
    };
    let error = job.ask(near.try_clone().unwrap(), near).unwrap_err();
    assert!(matches!(error, SqlError::Died), "{error:?}");
}
