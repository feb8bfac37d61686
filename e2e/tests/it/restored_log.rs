//! The log is replaced by an older copy while everything runs.

use testkit::{eventually, eventually_within};

use crate::{
    agents,
    world::{Setup, WAIT_TIMEOUT, World},
};

const HALTED: [(&str, &str); 3] = [
    (
        "ingest",
        "isotherm_consumer_halted_partitions{consumer=\"ingest\"}",
    ),
    (
        "hot-writer",
        "isotherm_consumer_halted_partitions{consumer=\"hot-writer\"}",
    ),
    (
        "compactor",
        "isotherm_consumer_halted_partitions{consumer=\"compactor\"}",
    ),
];

/// Waits until each service says that it has halted all partitions, or none.
async fn until_halted(world: &World, partitions: u16) {
    for (service, metric) in HALTED {
        let line = format!("{metric} {partitions}");
        eventually_within(WAIT_TIMEOUT, &format!("{service}: {line}"), async || {
            world.admin(service, "/metrics").await.contains(&line)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_log_takes_and_gives_nothing_until_the_right_one_is_back() {
    let mut world = World::start().await;
    let posted = agents::run(31, 1200, 9);
    world.post(&posted[..400], 20).await;
    let copy = world.dir.path().join("copy");
    world.nats.copy_store(&copy).await;
    world.post(&posted[400..800], 20).await;
    world.until_watermark("hot", "last").await;
    world.until_watermark("warm", "committed").await;
    world.assert_returns_exactly(&posted[..800]).await;
    let partitions = Setup::default().partitions;
    let (own, wrong) = (world.dir.path().join("own"), world.dir.path().join("wrong"));

    world.nats.replace_store(&copy, &own).await;
    until_halted(&world, partitions).await;
    let mut code = String::new();
    eventually("it is refused", async || {
        match world.try_post(&posted[800..820]).await {
            Ok(answer) => {
                assert_eq!(answer.status(), 503);
                let problem: serde_json::Value = answer.json().await.unwrap();
                code = problem["code"].as_str().unwrap().to_owned();
                code == "log_diverged"
            }
            Err(_) => false,
        }
    })
    .await;

    world.nats.replace_store(&own, &wrong).await;
    until_halted(&world, 0).await;
    world.post(&posted[800..], 20).await;
    world.assert_returns_exactly(&posted).await;
    world.until_sealed().await;
    world.assert_returns_exactly(&posted).await;
}
