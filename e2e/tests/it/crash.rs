use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::{agents, world::World};

const KILLS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn ingest_killed_ten_times_under_load_loses_and_repeats_nothing() {
    killed_under_load("ingest", 21).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hot_writer_killed_ten_times_under_load_loses_and_repeats_nothing() {
    killed_under_load("hot-writer", 22).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_compactor_killed_ten_times_under_load_loses_and_repeats_nothing() {
    killed_under_load("compactor", 23).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn query_killed_ten_times_under_load_loses_and_repeats_nothing() {
    killed_under_load("query", 24).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_executor_killed_ten_times_costs_statements_a_retry_and_pages_nothing() {
    let mut world = World::start().await;
    let posted = agents::run(27, 1000, 4);
    world.post(&posted, 100).await;
    world.until_sealed().await;
    let count = "SELECT count(*) FROM events";
    for _ in 0..KILLS {
        assert_eq!(world.sql(count).await["rows"], json!([[posted.len()]]));
        world.kill("executor").await;
        let request = world.http.post(world.query("/v1/sql")).body(count);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 503);
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], "executor_unavailable", "{problem}");
        world.assert_returns_exactly(&posted).await;
        world.start_service("executor");
        world.until_ready("executor").await;
    }
    assert_eq!(world.sql(count).await["rows"], json!([[posted.len()]]));
}

/// Posts events while `name` is killed and started again, then reads all of them, before and after
/// they are sealed.
async fn killed_under_load(name: &'static str, seed: u64) {
    let mut world = World::start().await;
    let posted = agents::run(seed, 4000, 6);
    let (first, second) = posted.split_at(posted.len() / 2);
    world.post(first, 100).await;

    for (kill, part) in second.chunks(second.len() / KILLS).enumerate() {
        let half = part.len() / 2;
        world.post(&part[..half], 25).await;
        let acknowledged = AtomicBool::new(false);
        if name == "ingest" {
            // Killed in the middle of a request: its outcome is unknown, so it is posted again.
            let request = world.try_post(&part[half..]);
            tokio::select! {
                _ = request => acknowledged.store(true, Ordering::Relaxed),
                () = tokio::time::sleep(std::time::Duration::from_millis(kill as u64)) => {}
            }
        }
        world.kill(name).await;
        world.start_service(name);
        world.until_ready(name).await;
        world.post(&part[half..], 50).await;
    }

    world.assert_returns_exactly(&posted).await;
    world.until_sealed().await;
    world.assert_returns_exactly(&posted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archiver_killed_ten_times_archives_every_event_once() {
    let world = World::start().await;
    let posted = agents::run(25, 3000, 6);
    let hour = 3_600_000;
    world.set_policy(hour, hour, crate::world::keep_all()).await;
    for (kill, part) in posted.chunks(posted.len() / KILLS).enumerate() {
        world.post(part, 100).await;
        world.until_sealed().await;
        let archiver = world.start_archiver();
        tokio::time::sleep(std::time::Duration::from_millis(60 * kill as u64)).await;
        archiver.kill().await;
    }
    world.archive().await;
    world.set_policy(1000, 1000, crate::world::keep_all()).await;
    world.until_only_cold(&posted).await;
    world.assert_returns_exactly(&posted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_redis_and_a_killed_log_lose_nothing() {
    let mut world = World::start().await;
    let posted = agents::run(26, 2000, 4);
    world.post(&posted[..1000], 100).await;
    world.valkey.flush().await;
    world.assert_returns_exactly(&posted[..1000]).await;
    world.nats.kill().await;
    world.nats.restart().await;
    world.post(&posted[1000..], 100).await;
    world.valkey.kill().await;
    world.assert_returns_exactly(&posted).await;
    world.valkey.restart().await;
    world.until_sealed().await;
    world.assert_returns_exactly(&posted).await;
}
