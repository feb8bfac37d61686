use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use testkit::eventually;

use crate::world::{World, lines, numbers, ok, problem};

const CRASHES: u64 = 10;
const CLIENTS: u64 = 4;
const BATCH: u64 = 20;

/// Sends batch after batch, retrying each until it is acknowledged; returns the number of batches.
async fn client(
    world: Arc<World>,
    number: u64,
    acked: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> u64 {
    let mut batches = 0;
    while !stop.load(Ordering::Acquire) {
        let first = (batches * CLIENTS + number) * BATCH;
        let body = lines(first..first + BATCH);
        let sent = world.post("/v1/events").body(body).send().await;
        match sent {
            Ok(response) if response.status().is_success() => {
                batches += 1;
                acked.fetch_add(1, Ordering::AcqRel);
            }
            // Refused, disconnected or not listening: retry the same batch.
            _ => tokio::task::yield_now().await,
        }
    }
    batches
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_killed_again_and_again_loses_nothing_and_repeats_only_what_was_sent_again() {
    let (world, ingest) = World::start().await;
    let world = Arc::new(world);
    let (acked, stop) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let (acked, stop) = (Arc::clone(&acked), Arc::clone(&stop));
            tokio::spawn(client(Arc::clone(&world), n, acked, stop))
        })
        .collect();

    let mut ingest = Some(ingest);
    for crash in 1..=CRASHES {
        let goal = acked.load(Ordering::Acquire) + 10 + crash * 3;
        eventually("more is acknowledged", async || {
            acked.load(Ordering::Acquire) >= goal
        })
        .await;
        ingest.take().unwrap().kill().await;
        ingest = Some(world.ingest(&[]).await);
    }
    stop.store(true, Ordering::Release);
    let mut expected = Vec::new();
    for (number, client) in clients.into_iter().enumerate() {
        for batch in 0..client.await.unwrap() {
            let first = (batch * CLIENTS + number as u64) * BATCH;
            expected.extend(first..first + BATCH);
        }
    }
    expected.sort_unstable();

    let stored = numbers(&world.stored().await);
    let lost: Vec<_> = expected
        .iter()
        .filter(|n| stored.binary_search(n).is_err())
        .collect();
    assert!(
        lost.is_empty(),
        "acknowledged, but not in the log: {lost:?}"
    );
    // A request that was sent again may share its message with others than before, so the log does not
    // know it; the compactor does, by its ids.
    let twice = stored.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
    assert!(
        twice <= CRASHES * CLIENTS * BATCH,
        "{twice} events are there twice after {CRASHES} crashes of {CLIENTS} requests of {BATCH}"
    );
    assert!(ingest.unwrap().stop().await.success());
}

#[tokio::test]
async fn a_log_that_crashes_during_a_request_is_an_unknown_outcome_and_a_retry_stores_it_once() {
    let (mut world, _ingest) = World::start().await;
    world.append(lines(0..10)).await;
    world.nats.kill().await;

    let response = world.post("/v1/events").body(lines(10..30)).send().await;
    let response = response.unwrap();
    assert!(response.headers().contains_key("retry-after"));
    let (status, problem) = problem(response).await;
    assert_eq!(
        (status, problem["code"].as_str().unwrap()),
        (503, "outcome_unknown")
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("retry with the same event ids"), "{detail}");

    world.nats.restart().await;
    let mut answer = None;
    eventually("the retry is acknowledged", async || {
        let retry = world.post("/v1/events").body(lines(10..30)).send().await;
        let retry = retry.unwrap();
        if retry.status().is_success() {
            answer = Some(ok(retry).await);
        }
        answer.is_some()
    })
    .await;
    assert_eq!(answer.unwrap()["acked"], 20);
    assert_eq!(numbers(&world.stored().await), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_request_under_way_is_finished_before_the_process_stops() {
    let (world, mut ingest) = World::start().await;
    let world = Arc::new(world);
    world.nats.pause();
    let request = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.append(lines(0..10)).await }
    });
    eventually("the request is under way", async || {
        let metrics = world.client.get(world.admin("metrics")).send().await;
        let metrics = metrics.unwrap().text().await.unwrap();
        metrics.contains("isotherm_ingest_bytes_total{protocol=\"json\"}")
    })
    .await;

    ingest.terminate();
    world.nats.resume();

    let answer = tokio::time::timeout(Duration::from_secs(30), request).await;
    assert_eq!(answer.unwrap().unwrap()["acked"], 10);
    assert!(ingest.wait(Duration::from_secs(30)).await.success());
}
