//! A statement and its answer between two ends of a socket.

use std::{os::unix::net::UnixStream, thread};

use super::{events, limits, texts};
use crate::sql::{Answer, Job, Received, Rows, SqlError, Table};

fn far(sql: &str) -> Result<Answer, SqlError> {
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
        tables: vec![Rows {
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
    let answer = far("SELECT content FROM events ORDER BY content").unwrap();
    assert_eq!(
        texts(&answer),
        ["one", "one", "three", "three", "two", "two"]
    );
    let none = far("SELECT content FROM events WHERE false").unwrap();
    assert_eq!(none.schema.fields().len(), 1);
    far("SELECT [1], {'a': 1}, map {'k': 1}, INTERVAL 1 DAY, now(), 1::HUGEINT, NULL").unwrap();
}

#[test]
fn what_is_wrong_comes_back_as_what_it_is() {
    let error = far("DROP TABLE events_rows").unwrap_err();
    assert!(matches!(error, SqlError::NotAllowed(_)), "{error:?}");
    let error = far("SELECT nope FROM events").unwrap_err();
    assert!(error.to_string().contains("nope"), "{error:?}");
    let error = far("SELECT * FROM range(1001)").unwrap_err();
    assert!(matches!(error, SqlError::ResultTooLarge { rows: 1000, .. }));
}

#[test]
fn an_end_without_a_word_is_an_error() {
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
