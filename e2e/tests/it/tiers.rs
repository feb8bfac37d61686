use retention::{Cold, Policy};
use serde_json::Value;
use testkit::eventually;

use crate::{
    agents,
    world::{World, keep_all},
};

const HOUR: u64 = 3_600_000;

#[tokio::test(flavor = "multi_thread")]
async fn every_event_comes_back_once_and_to_the_byte_from_every_tier() {
    let world = World::start().await;
    let posted = agents::run(1, 3000, 7);
    world.set_policy(HOUR, HOUR, keep_all()).await;

    world.post(&posted, 500).await;
    let answers = world.assert_holds(&posted).await;
    assert!(answers.iter().all(|answer| !answer.tiers.contains("cold")));

    world.post(&posted, 500).await;
    world.until_sealed().await;
    world.assert_holds(&posted).await;

    world.archive().await;
    world.set_policy(1000, 1000, keep_all()).await;
    world.until_only_cold(&posted).await;
    let answers = world.assert_holds(&posted).await;
    for answer in answers {
        assert_eq!(Vec::from_iter(&answer.tiers), ["cold"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rollups_equal_a_full_scan_before_and_after_archiving_and_sampling() {
    let world = World::start().await;
    let posted = agents::run(2, 2000, 5);
    let sampled = Policy::built_in().cold;
    world.set_policy(HOUR, HOUR, sampled.clone()).await;
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
    world.set_policy(1000, 1000, sampled).await;
    world.until_only_cold(&posted).await;
    world.archive().await;
    assert_eq!(rows(world.sql(rolled).await), hours, "archived and sampled");
    assert_eq!(
        rows(world.sql(summary).await),
        conversations,
        "archived and sampled"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sampling_keeps_the_declared_share_and_all_that_is_critical() {
    let world = World::start().await;
    let posted = agents::run(3, 2000, 3);
    let percent = |percent| Cold {
        sampling: Some(fixed(percent)),
        ..keep_all().unwrap()
    };
    world.set_policy(HOUR, HOUR, Some(percent(25))).await;
    world.post(&posted, 500).await;
    world.until_sealed().await;
    world.archive().await;
    world.set_policy(1000, 1000, Some(percent(25))).await;
    world.until_only_cold(&posted).await;
    world.archive().await;

    // The query service looks at the cold tier every other second.
    eventually("the thinned files are read", async || {
        world
            .read("run-3-0")
            .await
            .lines
            .iter()
            .any(|line| line.contains("sample_rate"))
    })
    .await;

    let is_output = |line: &&String| agents::member(line, "type") == "output.chunk";
    let (mut output, mut other) = (0, 0);
    for name in 0..3 {
        for line in world.read(&format!("run-3-{name}")).await.lines {
            let counter = if is_output(&&line) {
                &mut output
            } else {
                &mut other
            };
            *counter += 1;
        }
    }
    let posted_output = posted.iter().filter(is_output).count();
    assert_eq!(
        other,
        posted.len() - posted_output,
        "everything but routine output is kept"
    );
    let share = output * 100 / posted_output;
    assert!(
        (20..=30).contains(&share),
        "{share} % of {posted_output} are kept"
    );
    let estimate = world
        .sql("SELECT round(sum(1/sample_rate))::BIGINT AS n FROM events")
        .await;
    let estimate = estimate["rows"][0]["n"]
        .as_i64()
        .or(estimate["rows"][0][0].as_i64())
        .unwrap();
    let total = i64::try_from(posted.len()).unwrap();
    assert!(
        (estimate - total).abs() < total / 5,
        "{estimate} estimates {total}"
    );
}

fn fixed(percent: u32) -> retention::Sampling {
    let mut sampling = Policy::built_in().cold.unwrap().sampling.unwrap();
    for rule in &mut sampling.rules {
        if let Some(sample) = &mut rule.sample {
            sample.strategy = retention::Strategy::Fixed { percent };
        }
    }
    sampling
}
