//! Servers that accept requests and never answer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use event::PartitionId;
use futures::future::join_all;
use testkit::eventually;

use crate::{
    sql::cell,
    tail::Tail,
    world::{CONVERSATIONS, World, event, id, number, numbers, partition},
};

/// Far below the time-out of a request: one stall, and some time to answer.
const SOON: Duration = Duration::from_secs(10);
/// More than have memory to read the hot tier at once.
const CLIENTS: usize = 24;

#[tokio::test]
async fn a_hot_tier_that_hangs_costs_no_reader_its_answer() {
    // The least memory: two reads of the hot tier at once.
    let world = World::start_with(&["--memory-bytes", "536870912"]).await;
    let (_writer, _compactor) = (world.hot_writer(), world.compactor(&[]));
    world.publish(0..60, 3).await;
    world.until("hot", "last").await;
    world.until("warm", "committed").await;
    let page = format!("/v1/conversations/{}/events?order=asc", id(0));
    let path = format!("/v1/conversations/{}/tail", id(0));

    world.valkey.pause();
    let asked_at = Instant::now();
    let pages = join_all((0..CLIENTS).map(|_| world.json(&page)));
    let tail = async { Tail::new(world.tail(&path, None).await).next().await };
    let (pages, list, count, (_, first), hourly) = tokio::join!(
        pages,
        world.json("/v1/conversations"),
        world.sql("SELECT count(*) FROM events"),
        tail,
        world.hourly_events(),
    );
    let took = asked_at.elapsed();
    for (status, page) in pages {
        assert_eq!((status, &page["complete"]), (200, &true.into()), "{page}");
        assert_eq!(numbers(&page).len(), 20);
    }
    assert_eq!((list.0, &list.1["complete"]), (200, &true.into()));
    assert_eq!(list.1["conversations"].as_array().map(Vec::len), Some(3));
    assert_eq!((cell(&count), number(&first), hourly), (60.into(), 0, 60));
    assert!(took < SOON, "{took:?}");

    // It is known to hang: nobody waits for it.
    let asked_at = Instant::now();
    for _ in 0..3 {
        assert_eq!(world.json(&page).await.0, 200);
    }
    assert!(asked_at.elapsed() < Duration::from_secs(4), "{asked_at:?}");

    world.valkey.resume();
    eventually("the hot tier is read again", async || {
        let answer = world.get(&page).await;
        answer.headers()["isotherm-tiers"] == "hot"
    })
    .await;
}

#[tokio::test]
async fn what_only_a_hot_tier_that_hangs_could_prove_is_named_in_time() {
    let world = World::start().await;
    let _writer = world.hot_writer();
    let compactor = world.compactor(&[]);
    world.publish(0..60, 3).await;
    world.until("hot", "last").await;
    world.until("warm", "committed").await;
    // Without both nobody knows the duplicates.
    compactor.kill().await;
    world.valkey.pause();
    let asked_at = Instant::now();
    let (status, answer) = world.sql("SELECT count(*) FROM events").await;
    assert_eq!(
        (status, &answer["complete"]),
        (200, &false.into()),
        "{answer}"
    );
    assert_eq!(
        answer["missing"].as_array().map(Vec::len),
        Some(2),
        "{answer}"
    );
    let (status, list) = world.json("/v1/conversations").await;
    assert_eq!((status, &list["complete"]), (200, &false.into()), "{list}");
    let page = format!("/v1/conversations/{}/events?order=asc", id(0));
    let (status, page) = world.json(&page).await;
    assert_eq!(
        (status, numbers(&page).len()),
        (200, 20),
        "the log has them"
    );
    assert!(asked_at.elapsed() < 2 * SOON, "{asked_at:?}");
    world.valkey.resume();
}

/// Conversation 0, and one of another partition.
fn two_partitions() -> (PartitionId, u64) {
    let halted = partition(&event(0));
    let mut others = (1..CONVERSATIONS).filter(|number| partition(&event(*number)) != halted);
    (halted, others.next().unwrap())
}

#[tokio::test]
async fn readers_that_wait_for_the_compactor_hold_no_memory() {
    // The least memory: six small pages and ten tails at once.
    let world = World::start_with(&["--memory-bytes", "536870912"]).await;
    let (halted, other) = two_partitions();
    for number in 0..20 {
        // The compactor stops before a flood of what it cannot read, and answers that it knows nothing behind it.
        let (id, payload) = (format!("garbage-{number}"), Bytes::from_static(b"no frame"));
        let appended = world.log.append(halted, &id, payload, Vec::new());
        appended.await.unwrap();
    }
    let _compactor = world.compactor(&[]);
    world.publish(0..60, 3).await;
    eventually("the compactor has the other partition", async || {
        let page = format!("/v1/conversations/{}/events?limit=1", id(other));
        world.json(&page).await.0 == 200
    })
    .await;

    let after = crate::memory::first_positions();
    let first = after
        .split(',')
        .find(|text| text.contains(&format!("-{:04}-", halted.partition)));
    let waiting = format!(
        "/v1/conversations/{}/events?order=asc&after={}",
        id(0),
        first.unwrap()
    );
    let pages = join_all((0..40).map(|_| world.json(&waiting)));
    let tails = join_all((0..40).map(async |_| {
        let tail = world.tail(&format!("/v1/tail?after={after}"), None).await;
        Tail::new(tail).next_of_any_kind().await
    }));
    let honest = async {
        let page = format!("/v1/conversations/{}/events", id(other));
        let tail = format!("/v1/conversations/{}/tail", id(other));
        let mut slowest = Duration::ZERO;
        for _ in 0..10 {
            let asked_at = Instant::now();
            assert_eq!(numbers(&world.json(&page).await.1).len(), 20);
            let (_, event) = Tail::new(world.tail(&tail, None).await).next().await;
            assert_eq!(number(&event), other);
            slowest = slowest.max(asked_at.elapsed());
        }
        slowest
    };
    let (pages, _, slowest) = tokio::join!(pages, tails, honest);
    assert!(pages.iter().all(|(status, _)| *status == 200), "{pages:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}
