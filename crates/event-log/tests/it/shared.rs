use std::{sync::Arc, time::Duration};

use event::{PartitionId, Timestamp};
use event_log::{Tier, Watermark};
use futures::StreamExt as _;
use retention::{Policy, RuleSet};

use crate::World;

const FOLLOW_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn the_built_in_rules_hold_until_there_are_others() {
    let world = World::start().await;
    let mut rules = world.log.watch_policy();
    assert_eq!(*next(&mut rules).await, RuleSet::default());

    world.log.publish_policy(&other_rules()).await.unwrap();
    assert_eq!(*next(&mut rules).await, other_rules());

    world.log.publish_time_scale(3600).await.unwrap();
    let faster = next(&mut rules).await;
    assert_eq!(*faster, other_rules().accelerated(3600));
    assert_eq!(world.log.policy().await.unwrap(), *faster);
}

#[tokio::test]
async fn rules_are_followed_after_a_crash_of_the_log() {
    let mut world = World::start().await;
    let mut rules = world.log.watch_policy();
    next(&mut rules).await;

    world.nats.restart().await;
    publish(&world, &other_rules()).await;

    assert_eq!(*next(&mut rules).await, other_rules());
}

#[tokio::test]
async fn the_latest_acknowledgement_of_each_component_is_listed() {
    let world = World::start().await;
    world.log.ack_policy("query", "sha256:2").await.unwrap();
    world.log.ack_policy("compactor", "sha256:1").await.unwrap();
    world.log.ack_policy("query", "sha256:3").await.unwrap();

    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let expected = [pair("compactor", "sha256:1"), pair("query", "sha256:3")];
    assert_eq!(world.log.policy_acks().await.unwrap(), expected);
}

#[tokio::test]
async fn watermarks_are_read_back_and_followed_after_a_crash_of_the_log() {
    let mut world = World::start().await;
    assert_eq!(world.log.watermarks().await.unwrap(), []);
    world.log.publish_watermark(&cold(1)).await.unwrap();
    world.log.publish_watermark(&hot()).await.unwrap();

    let mut all = world.log.watermarks().await.unwrap();
    all.sort_by_key(Watermark::tier);
    assert_eq!(all, [hot(), cold(1)]);
    assert_eq!(all[0].tier(), Tier::Hot);

    let mut watch = world.log.watch_watermarks();
    let first = [watch.next().await.unwrap(), watch.next().await.unwrap()];
    assert_eq!(first, [cold(1), hot()]);

    world.nats.restart().await;
    let publish = async { while world.log.publish_watermark(&cold(2)).await.is_err() {} };
    publish.await;
    let followed = async { while watch.next().await.unwrap() != cold(2) {} };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, followed).await.unwrap();
}

async fn next(rules: &mut (impl futures::Stream<Item = Arc<RuleSet>> + Unpin)) -> Arc<RuleSet> {
    let next = tokio::time::timeout(FOLLOW_TIMEOUT, rules.next()).await;
    next.expect("within 5 s").expect("it never ends")
}

async fn publish(world: &World, rules: &RuleSet) {
    while world.log.publish_policy(rules).await.is_err() {}
}

fn other_rules() -> RuleSet {
    let mut policy = Policy::built_in();
    policy.name = "agents/short".to_owned();
    policy.warm.as_mut().unwrap().max_age_ms = 60_000_000;
    RuleSet::new(vec![policy])
}

fn hot() -> Watermark {
    Watermark::Hot {
        partition: PartitionId::first(1),
        floor: 1,
        last: 9,
        checked: 5,
        events: 40,
        bytes: 4000,
        oldest_at: Some(Timestamp::from_micros(1_700_000_000_000_000)),
    }
}

fn cold(committed: u64) -> Watermark {
    Watermark::Cold {
        partition: PartitionId::first(1),
        committed,
        events: 0,
        bytes: 0,
        oldest_at: None,
    }
}
