//! Two stores that were given one cold tier.

use std::time::Duration;

use serde_json::Value;
use testkit::eventually;

use crate::{
    agents,
    damage::positions,
    world::{Setup, World, keep_all},
};

const HOUR: u64 = 3_600_000;
const SENTENCE: &str = "two stores need two places; use another --cold / --cold-url";

#[tokio::test(flavor = "multi_thread")]
async fn the_second_store_on_a_cold_tier_is_refused_and_loses_nothing() {
    let one = World::start().await;
    let mut other = World::start_with(Setup {
        cold: Some(one.path("cold")),
        ..Setup::default()
    })
    .await;
    let (mine, theirs) = (agents::run(21, 300, 4), agents::run(22, 500, 4));
    for (world, posted) in [(&one, &mine), (&other, &theirs)] {
        world.set_policy(HOUR, HOUR, keep_all()).await;
        world.post(posted, 100).await;
        world.until_sealed().await;
    }
    one.archive().await;

    let mut archiver = other.start_archiver();
    let status = archiver.wait(Duration::from_secs(60)).await;
    assert_eq!(status.code(), Some(1));
    assert!(
        archiver.stderr().contains(SENTENCE),
        "{}",
        archiver.stderr()
    );
    for world in [&one, &other] {
        world.set_policy(1000, 1000, keep_all()).await;
        world.valkey.flush().await;
    }
    eventually(
        "the second compactor will not drop what it is due to",
        async || {
            let said = other.service("compactor").stdout() + &other.service("compactor").stderr();
            said.contains(SENTENCE)
        },
    )
    .await;
    one.until_only_cold(&mine).await;
    for (world, posted) in [(&one, &mine), (&other, &theirs)] {
        let (found, answer) = positions(world).await;
        assert_eq!(
            (found.len(), &answer["complete"]),
            (posted.len(), &Value::Bool(true))
        );
        world.assert_returns_exactly(posted).await;
    }

    other.kill("compactor").await;
    other.start_service("compactor");
    let compactor = other.service("compactor");
    let status = compactor.wait(Duration::from_secs(60)).await;
    assert!(!status.success());
    assert!(
        compactor.stderr().contains(SENTENCE),
        "{}",
        compactor.stderr()
    );
}
