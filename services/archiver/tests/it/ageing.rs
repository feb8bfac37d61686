//! Sampling, expiry and merging of events in cold.

use std::{collections::HashMap, time::Duration};

use event::Timestamp;
use retention::{Cold, Policy, RuleSet, SampleSubject};
use testkit::eventually;

use crate::world::{World, event, number, policy, sampling};

const EVENTS: u64 = 280;

fn sampled(warm_ms: u64) -> Policy {
    policy(
        warm_ms,
        Cold {
            max_age_ms: None,
            disabled: false,
            sampling: Some(sampling()),
        },
    )
}

async fn are_all_sampled(world: &World, cold: &str) -> bool {
    let (_, snapshot) = world.snapshot(cold).await;
    let mut files = snapshot.events.files();
    files.all(|file| {
        let provenance = file.provenance.as_ref();
        provenance.is_some_and(|own| own.sampled.is_some())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn sampling_keeps_exactly_the_declared_events_and_is_deterministic() {
    let policy = sampled(500);
    let world = World::start(Some(sampled(3_600_000))).await;
    world.publish(0..EVENTS).await;
    world.until_sealed().await;
    for cold in ["cold", "again"] {
        world.archive_to(cold).await;
    }
    let rules = RuleSet::new(vec![policy.clone()]);
    world.log.publish_policy(&rules).await.unwrap();
    world.until_left_warm().await;

    for cold in ["cold", "again"] {
        world.archive_to(cold).await;
        assert!(are_all_sampled(&world, cold).await, "{cold}");
        assert_eq!(world.archived(cold).await, EVENTS);
    }

    let sampling = policy.cold.unwrap().sampling.unwrap();
    let mut starts: HashMap<_, Timestamp> = HashMap::new();
    let mut expected = HashMap::new();
    for number in 0..EVENTS {
        let event = event(number);
        let conversation = event.conversation_id.to_string();
        let start = *starts
            .entry(conversation.clone())
            .or_insert(event.timestamp);
        let decision = sampling.decide(&SampleSubject {
            event_id: event.event_id,
            task_id: None,
            tenant: "default",
            conversation: &conversation,
            event_type: event.event_type.as_str(),
            labels: &(),
            timestamp: event.timestamp,
            conversation_start: start,
        });
        if decision.keep {
            expected.insert(number, decision.rate);
        }
    }
    let stored = world.in_cold("cold").await;
    assert!(stored.len() < usize::try_from(EVENTS).unwrap());
    let kept: HashMap<_, _> = stored.iter().map(|e| (number(e), e.sample_rate)).collect();
    assert_eq!(kept, expected);
    assert_eq!(stored.len(), kept.len());
    for stored in &stored {
        assert_eq!(stored.event, event(number(stored)));
    }
    let count = i64::try_from(EVENTS).unwrap();
    assert_eq!(
        world.counted().await,
        [count; 2],
        "rollups are exact for ever"
    );
    assert_eq!(world.in_cold("again").await, stored);
    assert_eq!(world.hashes("cold").await, world.hashes("again").await);
    let files = world.files("cold").await;
    world.archive().await;
    assert_eq!(world.files("cold").await, files, "sampled once, not again");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sampled_or_expired_that_warm_still_has() {
    let mut expiring = sampled(1);
    expiring.cold.as_mut().unwrap().max_age_ms = Some(1);
    let mut world = World::start(Some(expiring)).await;
    world.publish(0..EVENTS).await;
    world.until_sealed().await;
    // The compactor does not drop by what this cold tier has.
    let all = async |world: &World| {
        let summary = world.archive_to("again").await;
        summary.contains("\"sampled_out\":0,") && summary.contains("\"expired\":0,")
    };
    assert!(all(&world).await && all(&world).await);
    assert_eq!(world.in_cold("again").await.len(), 280);

    world.archive().await;
    world.until_left_warm().await;
    world.stop_compactor().await;
    let mut archiver = world.archiver_of("again", "http://127.0.0.1:1");
    assert!(!archiver.wait(Duration::from_secs(60)).await.success());
    assert_eq!(world.in_cold("again").await.len(), 280);

    world.start_compactor();
    world.until_sealed().await;
    assert!(!all(&world).await);
    assert_eq!(world.in_cold("again").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_events_are_removed_and_the_rollups_stay() {
    let forever = Cold {
        max_age_ms: None,
        disabled: false,
        sampling: None,
    };
    let world = World::start(Some(policy(3_600_000, forever.clone()))).await;
    world.publish(0..EVENTS).await;
    world.until_sealed().await;
    world.archive().await;
    world.assert_whole(EVENTS).await;
    let kept = world.files("cold").await;
    world.archive().await;
    assert_eq!(world.files("cold").await, kept);

    let short = Cold {
        max_age_ms: Some(100),
        ..forever
    };
    let rules = RuleSet::new(vec![policy(50, short)]);
    world.log.publish_policy(&rules).await.unwrap();
    world.until_left_warm().await;
    let summary = world.archive().await;

    assert!(
        summary.contains(&format!("\"expired\":{EVENTS}")),
        "{summary}"
    );
    assert!(world.in_cold("cold").await.is_empty());
    let count = i64::try_from(EVENTS).unwrap();
    assert_eq!(world.counted().await, [count; 2]);
    let acks = world.log.policy_acks().await.unwrap();
    assert!(acks.contains(&("archiver".to_owned(), rules.hash())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_without_a_cold_tier_adds_only_rollups_and_progress() {
    let disabled = Cold {
        max_age_ms: None,
        disabled: true,
        sampling: None,
    };
    let world = World::start(Some(policy(3_600_000, disabled))).await;
    world.publish(0..EVENTS).await;
    world.until_sealed().await;

    let summary = world.archive().await;

    assert!(
        summary.contains(&format!("\"not_archived\":{EVENTS}")),
        "{summary}"
    );
    assert!(world.files("cold").await.is_empty());
    let count = i64::try_from(EVENTS).unwrap();
    assert_eq!(world.counted().await, [count; 2]);
    let (_, snapshot) = world.snapshot("cold").await;
    assert_eq!(snapshot.committed().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_of_a_day_are_merged() {
    let world = World::start(None).await;
    for round in 0..9 {
        world.publish(round * 20..(round + 1) * 20).await;
        world.until_sealed().await;
        world.archive().await;
    }

    world.assert_whole(180).await;
    assert_eq!(world.archived("cold").await, 180);
    let (_, snapshot) = world.snapshot("cold").await;
    let hourly = snapshot.hourly_stats.files().count();
    assert!(hourly < 9, "{hourly} files of hourly stats");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rules_nothing_is_ever_removed() {
    let world = World::start(None).await;
    // The built-in 7 days of warm pass in 60 ms.
    world.log.publish_time_scale(10_000_000).await.unwrap();
    world.publish(0..EVENTS).await;
    world.until_sealed().await;
    world.archive().await;

    eventually("every file is past every built-in age", async || {
        let (_, snapshot) = world.snapshot("cold").await;
        let received = snapshot.events.files().filter_map(|file| {
            let provenance = file.provenance.as_ref()?;
            Some(provenance.received_max)
        });
        let latest = received.max().unwrap();
        Timestamp::now().since(latest) > Duration::from_secs(1)
    })
    .await;
    let summary = world.archive().await;

    assert!(summary.contains("\"sampled_out\":0,"), "{summary}");
    world.assert_whole(EVENTS).await;
}
