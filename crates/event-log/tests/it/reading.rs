use std::time::Duration;

use bytes::Bytes;
use event::{Seq, SeqRange};
use event_log::{Error, EventLog, LogMessage, Result};
use futures::{Stream, StreamExt as _, TryStreamExt as _};

use crate::{PARTITION, World};

#[tokio::test]
async fn a_message_is_read_as_it_was_appended() {
    let world = World::start().await;
    let headers = vec![("traceparent".to_owned(), "00-1-2-01".to_owned())];
    let payload = Bytes::from_static(b"\x00payload\xff");
    let log = &world.log;
    let append = log.append(PARTITION, "a", payload.clone(), headers.clone());
    append.await.unwrap();

    let followed = take(log.read_from(PARTITION, 1).await.unwrap(), 1).await;
    let range = SeqRange { lo: 1, hi: 1 };
    let read = take(log.read_range(PARTITION, range).await.unwrap(), 1).await;

    assert_eq!(followed, read);
    let message = &followed[0];
    assert_eq!((message.partition, message.seq), (PARTITION, 1));
    assert_eq!(message.message_id, "a");
    assert_eq!(message.payload, payload);
    assert!(message.received_at.since(event::Timestamp::now()) < Duration::from_secs(60));
    assert_eq!(message.headers, headers);
}

#[tokio::test]
async fn a_reader_follows_from_the_requested_sequence() {
    let world = World::start().await;
    world.append_many(1..=5).await;
    let messages = world.log.read_from(PARTITION, 4).await.unwrap();
    let follow = tokio::spawn(take(messages, 4));
    world.append_many(6..=7).await;
    assert_eq!(seqs(&follow.await.unwrap()), [4, 5, 6, 7]);
}

#[tokio::test]
async fn a_reader_misses_and_repeats_nothing_over_crashes_of_the_log() {
    let mut world = World::start().await;
    let messages = world.log.read_from(PARTITION, 1).await.unwrap();
    let follow = tokio::spawn(take(messages, 250));
    for crash in 0..5 {
        world.append_many(crash * 50 + 1..=crash * 50 + 50).await;
        world.nats.kill().await;
        world.nats.restart().await;
    }
    let followed = tokio::time::timeout(Duration::from_secs(60), follow).await;
    assert_eq!(
        seqs(&followed.unwrap().unwrap()),
        (1..=250).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_purge_keeps_the_last_message_and_readers_begin_behind_it() {
    let world = World::start().await;
    world.append_many(1..=10).await;

    world.log.purge_through(PARTITION, 4).await.unwrap();
    assert_eq!(world.log.first_seq(PARTITION).await.unwrap(), 5);
    let read = world.log.read_from(PARTITION, 2).await.unwrap();
    assert_eq!(seqs(&take(read, 2).await), [5, 6]);
    let range = SeqRange { lo: 3, hi: 6 };
    let read = world.log.read_range(PARTITION, range).await.unwrap();
    let read: Vec<_> = read.try_collect().await.unwrap();
    assert_eq!(seqs(&read), [5, 6]);

    world.log.purge_through(PARTITION, 99).await.unwrap();
    let state = world.log.state(PARTITION).await.unwrap();
    assert_eq!((state.first, state.last, state.messages), (10, 10, 1));
}

#[tokio::test]
async fn a_long_range_is_read_whole_and_in_order() {
    let world = World::start().await;
    world.append_many(1..=300).await;
    let range = SeqRange { lo: 7, hi: 299 };
    let read = world.log.read_range(PARTITION, range).await.unwrap();
    let read: Vec<_> = read.try_collect().await.unwrap();
    assert_eq!(seqs(&read), (7..=299).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_log_that_ends_before_the_cursor_has_regressed() {
    let world = World::start().await;
    world.append_many(1..=3).await;

    assert!(world.log.read_from(PARTITION, 4).await.is_ok());
    let from = world.log.read_from(PARTITION, 5).await.map(drop);
    let range = SeqRange { lo: 2, hi: 4 };
    let within = world.log.read_range(PARTITION, range).await.map(drop);

    for error in [from.unwrap_err(), within.unwrap_err()] {
        assert!(matches!(error, Error::Regressed { last: 3, .. }), "{error}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn a_log_recreated_under_a_reader_has_regressed() {
    let world = World::start().await;
    world.append_many(1..=3).await;
    let mut messages = world.log.read_from(PARTITION, 1).await.unwrap();
    for _ in 0..3 {
        messages.next().await.unwrap().unwrap();
    }

    recreate_stream(&world).await;
    world.append("b").await.unwrap_err();

    let next = tokio::time::timeout(Duration::from_secs(30), messages.next()).await;
    let error = next.unwrap().unwrap().unwrap_err();
    assert!(
        matches!(error, Error::Regressed { known: 3, .. }),
        "{error}"
    );
    assert!(messages.next().await.is_none(), "it ends after an error");
}

#[tokio::test]
async fn a_message_that_is_missing_is_a_gap() {
    let world = World::start().await;
    world.append_many(1..=3).await;
    remove(&world, 2).await;

    let messages = world.log.read_from(PARTITION, 1).await.unwrap();
    let all: Vec<_> = messages.take(3).collect().await;
    let range = SeqRange { lo: 1, hi: 3 };
    let read = world.log.read_range(PARTITION, range).await.unwrap();
    let read: Result<Vec<_>> = read.try_collect().await;

    assert_eq!(all.len(), 2);
    for error in [
        all.into_iter().nth(1).unwrap(),
        read.map(|mut r| r.remove(0)),
    ] {
        assert!(
            matches!(error, Err(Error::Gap { expected: 2, .. })),
            "{error:?}"
        );
    }
}

async fn take(messages: impl Stream<Item = Result<LogMessage>>, count: usize) -> Vec<LogMessage> {
    messages.take(count).try_collect().await.unwrap()
}

fn seqs(messages: &[LogMessage]) -> Vec<Seq> {
    messages.iter().map(|message| message.seq).collect()
}

async fn jetstream(world: &World) -> async_nats::jetstream::Context {
    let client = async_nats::connect(&world.nats.url).await.unwrap();
    async_nats::jetstream::new(client)
}

async fn recreate_stream(world: &World) {
    let jetstream = jetstream(world).await;
    jetstream.delete_stream("EV_g1_p00_e1").await.unwrap();
    let log = EventLog::connect(&world.nats.url, "anew").await.unwrap();
    log.ensure_streams(crate::count(2), 1, None).await.unwrap();
}

/// Simulates a server that lost message `seq`: the stream itself denies deletes, so it is recreated
/// with three messages and without that setting.
async fn remove(world: &World, seq: Seq) {
    let jetstream = jetstream(world).await;
    let stream = jetstream.get_stream("EV_g1_p00_e1").await.unwrap();
    assert!(
        stream.delete_message(seq).await.is_err(),
        "deletes are denied"
    );
    let mut config = stream.cached_info().config.clone();
    let subject = config.subjects.remove(0);
    jetstream.delete_stream("EV_g1_p00_e1").await.unwrap();
    config.subjects = vec![subject.clone()];
    config.deny_delete = false;
    let stream = jetstream.create_stream(config).await.unwrap();
    for seq in 1..=3 {
        let ack = jetstream.publish(subject.clone(), seq.to_string().into());
        ack.await.unwrap().await.unwrap();
    }
    stream.delete_message(seq).await.unwrap();
}
