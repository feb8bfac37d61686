use retention::{Hot, Policy, RuleSet};
use testkit::eventually_within;

use crate::world::World;

/// The longest that a change of the rules takes to be applied.
const FOLLOW_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(6);

fn rules(max_age_ms: u64, max_events_per_stream: Option<u64>) -> RuleSet {
    let hot = Hot {
        max_age_ms,
        max_events_per_stream,
    };
    let policy = Policy {
        name: "test/short".to_owned(),
        hot: Some(hot),
        ..Policy::built_in()
    };
    RuleSet::new(vec![policy])
}

#[tokio::test]
async fn a_change_of_the_rules_is_followed_and_acknowledged() {
    let world = World::start().await;
    world.publish(1..=20).await;
    let _writer = world.start_writer();
    world.until_last(20).await;
    world.seal(20).await;
    world.assert_holds(1, 20).await;

    let short = rules(1, None);
    world.log.publish_policy(&short).await.unwrap();

    eventually_within(FOLLOW_TIMEOUT, "everything is trimmed", async || {
        world
            .read("a")
            .await
            .is_some_and(|read| read.rows.is_empty() && read.floor == 21)
    })
    .await;
    eventually_within(FOLLOW_TIMEOUT, "it acknowledges the rules", async || {
        let acks = world.log.policy_acks().await.unwrap();
        acks == [("hot-writer".to_owned(), short.hash())]
    })
    .await;
    eventually_within(FOLLOW_TIMEOUT, "the watermark follows", async || {
        world.hot_watermark().await == Some((21, 20, 0))
    })
    .await;
    assert!(
        world
            .admin("/metrics")
            .await
            .contains("isotherm_tier_removed_events_total{reason=\"expired\",tier=\"hot\"} 60")
    );
}

#[tokio::test]
async fn nothing_is_trimmed_that_is_not_sealed() {
    let world = World::start().await;
    world.log.publish_policy(&rules(1, None)).await.unwrap();
    let _writer = world.start_writer();
    for seq in 1..=10 {
        world.publish(seq..=seq).await;
        world.until_last(seq).await;
    }
    world.assert_holds(1, 10).await;

    world.seal(4).await;
    world.until_floor(5).await;
    world.assert_holds(5, 10).await;

    world.seal(10).await;
    world.until_floor(11).await;
}

#[tokio::test]
async fn a_conversation_keeps_no_more_than_its_newest_events() {
    let world = World::start().await;
    world
        .log
        .publish_policy(&rules(3_600_000, Some(4)))
        .await
        .unwrap();
    let _writer = world.start_writer();
    for seq in 1..=10 {
        world.publish(seq..=seq).await;
        world.until_last(seq).await;
    }

    world.seal(10).await;

    world.until_floor(9).await;
    let (a, b) = (
        world.read("a").await.unwrap(),
        world.read("b").await.unwrap(),
    );
    assert_eq!((a.rows.len(), b.rows.len()), (4, 4));
    assert_eq!(b.floor, 7);
}
