use serde_json::Value;

use crate::{
    agents,
    world::{World, keep_all, sampled},
};

const HOUR: u64 = 3_600_000;

#[tokio::test(flavor = "multi_thread")]
async fn every_tier_returns_every_event_once_and_byte_for_byte() {
    let world = World::start().await;
    let posted = agents::run(1, 3000, 7);
    world.set_policy(HOUR, HOUR, keep_all()).await;

    world.post(&posted, 500).await;
    let answers = world.assert_returns_exactly(&posted).await;
    assert!(answers.iter().all(|answer| !answer.tiers.contains("cold")));

    world.post(&posted, 500).await;
    world.until_sealed().await;
    world.assert_returns_exactly(&posted).await;

    world.archive().await;
    world.set_policy(1000, 1000, keep_all()).await;
    world.until_only_cold(&posted).await;
    let answers = world.assert_returns_exactly(&posted).await;
    for answer in answers {
        assert_eq!(Vec::from_iter(&answer.tiers), ["cold"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rollups_equal_a_full_scan_before_and_after_archiving_and_sampling() {
    let world = World::start().await;
    let posted = agents::run(2, 2000, 5);
    world.set_policy(HOUR, HOUR, sampled()).await;
    world.post(&posted, 300).await;

    let scan = "SELECT date_trunc('hour', timestamp) AS hour, type, count(*)::BIGINT AS events, \
                sum(content_len)::BIGINT AS bytes FROM events GROUP BY ALL ORDER BY ALL";
    let rolled = "SELECT hour, type, sum(events)::BIGINT AS events, sum(bytes)::BIGINT AS bytes \
                  FROM hourly_stats GROUP BY ALL ORDER BY ALL";
    let summary = "SELECT conversation_id, events::BIGINT, bytes::BIGINT, first_timestamp, last_timestamp \
                   FROM conversation_summary ORDER BY ALL";
    let full_summary = "SELECT conversation_id, count(*)::BIGINT, sum(content_len)::BIGINT, min(timestamp), \
                        max(timestamp) FROM events GROUP BY ALL ORDER BY ALL";
    let rows = |answer: Value| answer["rows"].clone();
    let (hours, conversations) = (
        rows(world.sql(scan).await),
        rows(world.sql(full_summary).await),
    );
    assert!(hours.as_array().is_some_and(|rows| !rows.is_empty()));
    assert_eq!(rows(world.sql(rolled).await), hours, "while in hot");

    world.until_sealed().await;
    assert_eq!(rows(world.sql(scan).await), hours, "the scan after sealing");
    assert_eq!(rows(world.sql(rolled).await), hours, "sealed");
    assert_eq!(rows(world.sql(summary).await), conversations, "sealed");

    world.archive().await;
    world.set_policy(1000, 1000, sampled()).await;
    world.until_only_cold(&posted).await;
    world.archive().await;
    assert_eq!(rows(world.sql(rolled).await), hours, "archived and sampled");
    assert_eq!(
        rows(world.sql(summary).await),
        conversations,
        "archived and sampled"
    );
}
