//! Programs whose clock is wrong.

use std::time::Duration;

use event_log::{Tier, Watermark};
use retention::Cold;
use serde_json::Value;
use testkit::{ShiftedClock, eventually};

use crate::{
    agents, damage,
    world::{Setup, World, keep_all},
};

const HOUR: u64 = 3_600_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The events that `tier` has, as its watermarks say.
async fn events_in(world: &World, tier: Tier) -> usize {
    let watermarks = world.log().await.watermarks().await.unwrap();
    let events = |watermark: &Watermark| match watermark {
        Watermark::Hot { events, .. }
        | Watermark::Warm { events, .. }
        | Watermark::Cold { events, .. } => *events,
    };
    let of_tier = watermarks.iter().filter(|own| own.tier() == tier);
    usize::try_from(of_tier.map(events).sum::<u64>()).unwrap()
}

/// Waits until the compactor has purged the log: it looks for old slices before it does.
pub(crate) async fn until_purged(world: &World) {
    let log = world.log().await;
    eventually("the log is purged", async || {
        let partitions = log.partition_count().await.unwrap().unwrap();
        for partition in partitions.all() {
            let state = log.state(partition).await.unwrap();
            if state.first < state.last {
                return false;
            }
        }
        true
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_a_day_ahead_removes_and_filters_out_nothing_early() {
    let world = World::start_with(Setup {
        clock: Some(ShiftedClock::ahead(DAY)),
        ..Setup::default()
    })
    .await;
    let posted = agents::run(21, 600, 5);
    let half_a_day = Cold {
        max_age_ms: Some(12 * HOUR),
        ..keep_all().unwrap()
    };
    world.set_policy(HOUR, 2 * HOUR, Some(half_a_day)).await;
    // Ids are forgotten when a range is sealed.
    for part in posted.chunks(posted.len() / 2) {
        world.post(part, 100).await;
        world.until_sealed().await;
    }
    world.archive().await;
    until_purged(&world).await;
    world.archive().await;

    for tier in [Tier::Hot, Tier::Warm, Tier::Cold] {
        assert_eq!(events_in(&world, tier).await, posted.len(), "{tier:?}");
    }
    let (all, answer) = damage::positions(&world).await;
    let expected = (posted.len(), &Value::Bool(true));
    assert_eq!((all.len(), &answer["complete"]), expected);
    world.assert_returns_exactly(&posted).await;

    world.post(&posted, 77).await;
    world.until_sealed().await;
    world.assert_returns_exactly(&posted).await;

    // Nothing new comes, and yet what is old by the log's clock goes.
    world.set_policy(1000, 1000, keep_all()).await;
    world.until_only_cold(&posted).await;
    assert_eq!(events_in(&world, Tier::Cold).await, posted.len());
}
