//! Events that their producer sent again, cut into other batches, so that the log takes them for new.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use testkit::eventually;

use crate::{
    tail::Tail,
    world::{World, id, numbers},
};

/// Reads a conversation in pages from the oldest on, as a client that follows `next`.
async fn paged(world: &World, conversation: u64, limit: usize) -> Vec<u64> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!(
            "/v1/conversations/{}/events?order=asc&limit={limit}&after={after}",
            id(conversation)
        );
        let (status, page) = world.json(&path).await;
        assert_eq!(status, 200, "{page}");
        all.extend(numbers(&page));
        let Some(next) = page["next"].as_str() else {
            return all;
        };
        assert!(!page["events"].as_array().unwrap().is_empty(), "{page}");
        next.clone_into(&mut after);
    }
}

fn of(conversation: u64, count: u64) -> Vec<u64> {
    (0..count).filter(|n| n % 3 == conversation).collect()
}

#[tokio::test]
async fn pages_that_end_between_an_event_and_its_repeat_give_it_once() {
    let world = World::start().await;
    let _writer = world.hot_writer();
    let _compactor = world.compactor(&[]);
    for round in 0..10 {
        world.publish(0..60, 3 + round).await;
        for limit in [7, 20, 1000] {
            assert_eq!(paged(&world, 1, limit).await, of(1, 60), "{round}, {limit}");
        }
    }
}

#[tokio::test]
async fn pages_give_an_event_once_while_the_compactor_is_away() {
    let world = World::start().await;
    let writer = world.hot_writer();
    world.publish(0..60, 3).await;
    world.publish(0..60, 4).await;
    world.until("hot", "last").await;
    assert_eq!(paged(&world, 1, 7).await, of(1, 60), "from memory");
    writer.kill().await;
    world.publish(0..60, 5).await;
    assert_eq!(paged(&world, 1, 7).await, of(1, 60), "and from the log");
    let path = format!("/v1/conversations/{}/events?limit=7", id(1));
    let (_, newest) = world.json(&path).await;
    let last: Vec<u64> = of(1, 60).into_iter().rev().take(7).collect();
    assert_eq!(numbers(&newest), last, "the newest, behind their repeats");
}

#[tokio::test]
async fn an_event_whose_original_is_sealed_is_counted_once() {
    let world = World::start().await;
    let _writer = world.hot_writer();
    let _compactor = world.compactor(&["--seal-after", "200ms"]);
    world.publish(0..60, 3).await;
    world.until("warm", "sealed").await;
    for round in 0..10 {
        world.publish(0..60, 4 + round).await;
        let (status, answer) = world.sql("SELECT count(*) FROM events").await;
        assert_eq!((status, &answer["rows"]), (200, &json!([[60]])), "{answer}");
        assert_eq!(world.hourly_events().await, 60);
    }
}

#[tokio::test]
async fn an_event_is_given_once_while_the_hot_tier_is_away() {
    let world = World::start().await;
    let _compactor = world.compactor(&[]);
    world.publish(0..60, 3).await;
    world.until("warm", "committed").await;
    for round in 0..10 {
        world.publish(0..60, 4 + round).await;
        let (_, answer) = world.sql("SELECT count(*) FROM events").await;
        assert_eq!(
            (&answer["rows"], &answer["complete"]),
            (&json!([[60]]), &json!(true))
        );
        assert_eq!(paged(&world, 1, 7).await, of(1, 60), "{round}");
    }
}

/// What memory no longer has is read from the log while the compactor is away.
#[tokio::test]
async fn an_event_is_given_once_by_the_log_below_what_memory_has() {
    let world = World::start().await;
    let writer = world.hot_writer();
    let compactor = world.compactor(&["--seal-after", "200ms"]);
    world.publish(0..60, 3).await;
    world.publish(0..60, 4).await;
    world.until("warm", "sealed").await;
    writer.kill().await;
    world.valkey.flush().await;
    // It begins behind what is sealed.
    let _writer = world.hot_writer();
    world.publish(60..90, 3).await;
    world.until("hot", "last").await;
    world.until("hot", "checked").await;
    compactor.kill().await;
    for limit in [7, 1000] {
        assert_eq!(paged(&world, 1, limit).await, of(1, 90), "{limit}");
    }
}

#[tokio::test]
async fn what_nobody_has_checked_is_not_counted_and_said_to_be_missing() {
    let world = World::start().await;
    let _writer = world.hot_writer();
    let compactor = world.compactor(&[]);
    world.publish(0..60, 3).await;
    world.until("hot", "last").await;
    let whole = async || {
        let (_, answer) = world.sql("SELECT count(*) FROM events").await;
        answer["rows"] == json!([[60]]) && answer["complete"] == true
    };
    eventually("all is counted", whole).await;
    compactor.kill().await;
    world.publish(0..60, 4).await;
    world.publish(60..90, 4).await;
    world.until("hot", "last").await;

    // Nothing is sealed: only the compactor has what is checked.
    let (_, answer) = world.sql("SELECT count(*) FROM events").await;
    assert_eq!(
        (&answer["rows"], &answer["complete"]),
        (&json!([[0]]), &json!(false))
    );
    assert!(
        !answer["missing"].as_array().unwrap().is_empty(),
        "{answer}"
    );
    assert_eq!(
        paged(&world, 1, 7).await,
        of(1, 90),
        "a page compares by itself"
    );

    let _compactor = world.compactor(&[]);
    eventually("all is counted again", async || {
        let (_, answer) = world.sql("SELECT count(*) FROM events").await;
        answer["rows"] == json!([[90]]) && answer["complete"] == true
    })
    .await;
}

/// Writers repeat what they wrote, in other batches, as fast as they can; whoever counts never
/// counts one twice, and never less than was there before.
#[tokio::test]
async fn counts_are_exact_while_writers_repeat_themselves() {
    let world = World::start().await;
    let _writer = world.hot_writer();
    let _compactor = world.compactor(&["--seal-after", "700ms", "--seal-bytes", "20KiB"]);
    world.publish(0..60, 3).await;
    world.until("warm", "committed").await;
    let sent = AtomicU64::new(60);
    let write = async {
        for round in 1..40_usize {
            let from = round as u64 * 60;
            world.publish(from..from + 60, 7 + round).await;
            sent.store(from + 60, Ordering::SeqCst);
            world.publish(from - 60..from + 60, 1 + round % 5).await;
        }
    };
    let count = async {
        loop {
            let before = sent.load(Ordering::SeqCst);
            let (_, answer) = world
                .sql("SELECT count(*), count(DISTINCT event_id) FROM events")
                .await;
            let row = &answer["rows"][0];
            assert_eq!(row[0], row[1], "{answer}");
            let complete = answer["complete"] == true;
            assert!(
                !complete || row[0].as_u64().unwrap() >= before,
                "{before}: {answer}"
            );
            let events = world.hourly_events().await;
            let after = sent.load(Ordering::SeqCst);
            assert!(events <= after + 60, "{events} of {after}");
        }
    };
    tokio::select! {
        () = write => {}
        () = count => {}
    }
    let (_, answer) = world.sql("SELECT count(*) FROM events").await;
    assert_eq!(answer["rows"], json!([[40 * 60]]), "{answer}");
}

#[tokio::test]
async fn tails_that_resume_behind_an_event_do_not_give_its_repeat() {
    let world = World::start().await;
    let _writer = world.hot_writer();
    let _compactor = world.compactor(&[]);
    world.publish(0..30, 3).await;
    world.until("warm", "committed").await;
    let path = format!("/v1/conversations/{}/tail", id(0));
    let mut tail = Tail::new(world.tail(&path, None).await);
    let mut all = Tail::new(world.tail("/v1/tail", None).await);
    world.publish(30..33, 3).await;
    let mut place = String::new();
    for _ in 0..11 {
        place = tail.next().await.0;
    }
    let (everywhere, first) = all.next().await;
    let first = crate::world::number(&first);
    drop((tail, all));

    world.publish(0..33, 4).await;
    let mut tail = Tail::new(world.tail(&path, Some(&place)).await);
    let mut all = Tail::new(world.tail("/v1/tail", Some(&everywhere)).await);
    world.publish(33..36, 3).await;
    let of_conversation = crate::world::number(&tail.next().await.1);
    assert_eq!(of_conversation, 33);
    let mut later = Vec::new();
    while later.len() < 5 {
        later.push(crate::world::number(&all.next().await.1));
    }
    later.sort_unstable();
    let rest: Vec<u64> = (30..36).filter(|n| *n != first).collect();
    assert_eq!(later, rest, "{first} came before");
}
