//! Small requests that share messages of the log.

use std::collections::BTreeMap;

use event::{PartitionCount, Position};
use event_log::EventLog;
use futures::future::join_all;

use crate::world::{PARTITIONS, World, lines, numbers, ok, problem};

const REQUESTS: u64 = 60;

/// The number of messages of all partitions.
async fn messages(world: &World) -> u64 {
    let log = EventLog::connect(&world.nats.url, "test").await.unwrap();
    let partitions = PartitionCount::new(PARTITIONS).unwrap();
    let last = join_all(partitions.all().map(|partition| log.last_seq(partition))).await;
    last.into_iter().map(Result::unwrap).sum()
}

/// Sends one request for each of `ids`, and lets the log go on when all wait for it.
async fn while_the_log_is_paused(
    world: &World,
    ids: impl Iterator<Item = u64>,
) -> Vec<reqwest::Response> {
    world.nats.pause();
    let post = async |id| {
        let request = world
            .post("/v1/events?receipts=all")
            .body(lines(id..id + 1));
        request.send().await.unwrap()
    };
    let resume = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        world.nats.resume();
    };
    let (responses, ()) = tokio::join!(join_all(ids.map(post)), resume);
    responses
}

#[tokio::test]
async fn requests_that_wait_for_the_log_share_a_message_and_each_gets_its_own_positions() {
    let (world, _ingest) = World::start().await;
    let responses = while_the_log_is_paused(&world, 0..REQUESTS).await;
    let mut acknowledged = BTreeMap::new();
    for (id, response) in (0..).zip(responses) {
        let receipt = ok(response).await;
        assert_eq!(
            (&receipt["acked"], &receipt["duplicates"]),
            (&1.into(), &0.into())
        );
        let position: Position = receipt["receipts"][0]["position"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        acknowledged.insert(position, format!("{id}"));
    }
    let stored = world.stored().await;
    let stored: BTreeMap<_, _> = stored
        .into_iter()
        .map(|(at, event)| (at, event.content))
        .collect();
    assert_eq!(stored, acknowledged);
    let messages = messages(&world).await;
    assert!(
        messages <= 3 * u64::from(PARTITIONS),
        "{messages} messages for {REQUESTS} requests"
    );
}

#[tokio::test]
async fn a_request_with_a_bad_event_refuses_none_of_those_that_it_waits_with() {
    let (world, _ingest) = World::start().await;
    world.nats.pause();
    let good = join_all((0..20).map(|id| world.post("/v1/events").body(lines(id..id + 1)).send()));
    let bad = world.post("/v1/events").body("{\"type\":\"t\"}").send();
    let resume = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        world.nats.resume();
    };
    let (good, bad, ()) = tokio::join!(good, bad, resume);
    assert_eq!(problem(bad.unwrap()).await.0, 422);
    for response in good {
        ok(response.unwrap()).await;
    }
    assert_eq!(numbers(&world.stored().await), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_a_client_no_longer_waits_for_is_not_sent_and_blocks_no_other() {
    let (world, _ingest) = World::start().await;
    world.nats.pause();
    for id in 0..20 {
        let request = world.post("/v1/events").body(lines(id..id + 1));
        let request = request.timeout(std::time::Duration::from_millis(100));
        request.send().await.unwrap_err();
    }
    let honest =
        join_all((20..30).map(|id| world.post("/v1/events").body(lines(id..id + 1)).send()));
    let resume = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        world.nats.resume();
    };
    let (honest, ()) = tokio::join!(honest, resume);
    for response in honest {
        ok(response.unwrap()).await;
    }
    let mut stored = numbers(&world.stored().await);
    let given_up = stored.partition_point(|id| *id < 20);
    assert_eq!(stored.split_off(given_up), (20..30).collect::<Vec<_>>());
    // The first of each partition was on its way.
    assert_eq!(stored.len(), usize::from(PARTITIONS), "{stored:?}");
}
