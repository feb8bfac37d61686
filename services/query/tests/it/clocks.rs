//! A query service whose clock is a day ahead: ages count from `received_at` by the log's clock.

use std::time::Duration;

use retention::RuleSet;
use tempfile::TempDir;
use testkit::{ShiftedClock, eventually};

use crate::{
    cold::{archive, policy},
    sql::cell,
    tail::Tail,
    world::{World, id, number, numbers},
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR_MS: u64 = 3_600_000;
const ALL: &str = "SELECT count(*) FROM events";

/// Publishes the rules, and waits until query applies them.
async fn set_rules(world: &World, rules: RuleSet) {
    world.log.publish_policy(&rules).await.unwrap();
    let acked = ("query".to_owned(), rules.hash());
    eventually("query applies the rules", async || {
        world.log.policy_acks().await.unwrap().contains(&acked)
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_is_ahead_filters_out_no_event_from_pages_statements_and_tails() {
    let clock = ShiftedClock::ahead(DAY);
    let world = World::start_in(&[], &[clock.env()]).await;
    let (_writer, _compactor) = (world.hot_writer(), world.compactor(&[]));
    world.publish(0..30, 3).await;
    world.until("warm", "committed").await;
    let hour = policy("an-hour", &[], HOUR_MS, Some(HOUR_MS));
    set_rules(&world, RuleSet::new(vec![hour])).await;

    world.assert_all(30).await;
    assert_eq!(cell(&world.sql(ALL).await), 30);
    let path = format!("/v1/conversations/{}/tail", id(0));
    let mut tail = Tail::new(world.tail(&path, None).await);
    assert_eq!(number(&tail.next().await.1), 0);

    // By the log's clock they do age.
    let moment = policy("a-moment", &[], 1, Some(1));
    set_rules(&world, RuleSet::new(vec![moment])).await;
    assert_eq!(world.read(0).await.0, [0_u64; 0]);
    assert_eq!(cell(&world.sql(ALL).await), 0);
}

#[tokio::test]
async fn a_clock_that_is_ahead_filters_out_no_event_that_only_cold_has() {
    let (clock, dir) = (ShiftedClock::ahead(DAY), TempDir::new().unwrap());
    let cold = dir.path().display().to_string();
    let args = ["--cold-url", &cold];
    let world = World::start_in(&args, &[clock.env()]).await;
    let more = ["--seal-after", "200ms", "--log-grace", "0s"];
    let compactor = world.compactor(&[&more[..], &args].concat());
    world.publish(0..30, 3).await;
    world.until("warm", "sealed").await;
    archive(&world, &cold).await;
    compactor.kill().await;
    for (partition, last) in world.last().await {
        world.log.purge_through(partition, last).await.unwrap();
    }
    let hour = policy("an-hour", &[], HOUR_MS, Some(HOUR_MS));
    set_rules(&world, RuleSet::new(vec![hour])).await;

    let page = format!("/v1/conversations/{}/events?order=asc", id(0));
    let answer = world.get(&page).await;
    assert_eq!(answer.headers()["isotherm-tiers"], "cold");
    assert_eq!(numbers(&world.json(&page).await.1).len(), 10);
    assert_eq!(cell(&world.sql(ALL).await), 30);

    let moment = policy("a-moment", &[], 1, Some(1));
    set_rules(&world, RuleSet::new(vec![moment])).await;
    assert_eq!(numbers(&world.json(&page).await.1), [0_u64; 0]);
    assert_eq!(cell(&world.sql(ALL).await), 0);
}
