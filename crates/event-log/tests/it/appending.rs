use std::sync::Arc;

use bytes::Bytes;
use event_log::{AppendOutcome, Appended, Error, MAX_MESSAGE_BYTES};
use futures::{StreamExt as _, stream};

use crate::{PARTITION, World};

#[tokio::test]
async fn the_same_message_id_is_stored_once() {
    let world = World::start().await;

    let first = world.append("a").await.unwrap();
    let again = world.append("a").await.unwrap();
    let other = world.append("b").await.unwrap();

    assert_eq!(first, appended(1, false));
    assert_eq!(again, appended(1, true));
    assert_eq!(other, appended(2, false));
    assert_eq!(world.log.last_seq(PARTITION).await.unwrap(), 2);
}

#[tokio::test]
async fn a_message_id_is_recognized_after_a_crash_of_the_log() {
    let mut world = World::start().await;
    world.append("a").await.unwrap();

    world.nats.restart().await;

    assert_eq!(world.append("a").await.unwrap(), appended(1, true));
}

#[tokio::test]
async fn a_full_log_reports_it_and_still_recognizes_duplicates() {
    let world = World::start_with(Some(8 * 1024)).await;

    let mut stored = 0;
    let error = loop {
        let id = format!("{stored}{:>512}", "");
        match world.append(&id).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };

    assert!(matches!(error, Error::Full(PARTITION)), "{error:?}");
    assert!(error.is_transient());
    assert!(stored > 2);
    let again = world.append(&format!("0{:>512}", "")).await.unwrap();
    assert_eq!(again, appended(1, true));
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_too_large() {
    let world = World::start().await;
    for bytes in [MAX_MESSAGE_BYTES + 1, 2 << 20] {
        let payload = Bytes::from(vec![0; bytes]);
        let refused = world.log.append(PARTITION, "a", payload, Vec::new()).await;
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::TooLarge(_)), "{error:?}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn many_appends_at_once_get_a_sequence_each() {
    let world = Arc::new(World::start().await);
    let mut seqs: Vec<_> = stream::iter(0..3000)
        .map(|id| {
            let world = Arc::clone(&world);
            async move { world.append(&id.to_string()).await.unwrap().seq }
        })
        .buffer_unordered(2000)
        .collect()
        .await;
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=3000).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_append_waits_for_a_log_that_restarts() {
    let mut world = World::start().await;
    world.append("a").await.unwrap();
    world.nats.kill().await;

    let log = world.log.clone();
    let waiting = tokio::spawn(async move {
        log.append(PARTITION, "b", Bytes::from_static(b"b"), Vec::new())
            .await
    });
    world.nats.restart().await;

    assert_eq!(waiting.await.unwrap().unwrap().seq, 2);
    assert_eq!(world.log.last_seq(PARTITION).await.unwrap(), 2);
}

#[tokio::test]
async fn a_log_that_does_not_answer_leaves_the_outcome_unknown() {
    let world = World::start().await;
    world.append("a").await.unwrap();

    world.nats.pause();
    let error = world.append("b").await.unwrap_err();
    world.nats.resume();

    assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
    assert!(error.is_transient());
    world.append("b").await.unwrap();
    assert_eq!(world.log.last_seq(PARTITION).await.unwrap(), 2);
}

fn appended(seq: u64, duplicate: bool) -> Appended {
    Appended {
        seq,
        duplicate,
        id_known: duplicate,
    }
}

#[tokio::test]
async fn of_many_appends_behind_the_same_sequence_exactly_one_succeeds() {
    let world = World::start().await;
    world.append_many(1..=3).await;
    let behind = async |last: u64, id: &str| {
        let payload = Bytes::from(format!("payload of {id}"));
        let log = world.log.clone();
        let appended = log.append_behind(PARTITION, last, id, payload, Vec::new());
        appended.await.unwrap()
    };
    let elsewhere = AppendOutcome::EndsElsewhere {
        may_be_stored: false,
    };
    assert_eq!(behind(2, "early").await, elsewhere);
    let all = (0..20).map(|n| behind(3, ["a", "b", "c", "d"][n % 4]));
    let all = futures::future::join_all(all).await;
    let new = AppendOutcome::Appended(appended(4, false));
    assert_eq!(all.iter().filter(|outcome| **outcome == new).count(), 1);
    assert_eq!(world.log.last_seq(PARTITION).await.unwrap(), 4);
}

#[tokio::test]
async fn a_message_appended_behind_a_sequence_is_not_appended_again() {
    let mut world = World::start().await;
    let behind = async |world: &World| {
        let (payload, headers) = (Bytes::from("x"), Vec::new());
        let appended = world.log.append_behind(PARTITION, 0, "x", payload, headers);
        appended.await.unwrap()
    };
    let stored = |duplicate| AppendOutcome::Appended(appended(1, duplicate));
    assert_eq!(behind(&world).await, stored(false));
    for restart in [false, true] {
        if restart {
            world.nats.restart().await;
        }
        // Which of the two the server answers depends on its version.
        let again = behind(&world).await;
        let elsewhere = AppendOutcome::EndsElsewhere {
            may_be_stored: false,
        };
        assert!([elsewhere, stored(true)].contains(&again), "{again:?}");
        assert_eq!(world.log.last_seq(PARTITION).await.unwrap(), 1);
    }
}
