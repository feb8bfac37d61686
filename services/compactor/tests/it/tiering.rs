use cold_tier::{Change, ColdOptions, ColdTier, CommitOutcome, DayOf, PendingFile, Table};
use event::Timestamp;
use retention::{Policy, RuleSet, Selector, Warm};
use testkit::eventually;
use warm_tier::remote::{self, Coverage, Scan};

use crate::world::{World, assert_once};

/// Everything leaves warm after a second.
pub(crate) fn short() -> RuleSet {
    RuleSet::new(vec![Policy {
        name: "test/short".to_owned(),
        priority: 1,
        dry_run: false,
        selector: Selector::default(),
        hot: None,
        warm: Some(Warm {
            max_age_ms: 1_000,
            max_bytes: None,
        }),
        cold: None,
    }])
}

/// Commits to the cold tier that it has everything that is sealed, with the rows if `with_rows`.
pub(crate) async fn archive(world: &World, cold: &ColdTier, coverage: &Coverage, with_rows: bool) {
    for partition in &coverage.partitions {
        let (id, range) = (partition.partition, partition.sealed_range().unwrap());
        let mut adds = Vec::new();
        if with_rows {
            let scan = Scan::new(remote::Table::Events, id, vec![range]);
            let batches = world.client().collect(&scan).await.unwrap();
            let rows: Vec<_> = batches
                .iter()
                .flat_map(|b| segment::decode(b).unwrap())
                .collect();
            let pending = PendingFile {
                table: Table::Events,
                tenant: Some(rows[0].event.tenant.clone()),
                dt: Some(DayOf::ReceivedAt.day(&rows[0])),
                rows: segment::encode(&rows),
                class: Some(partition.slices[0].class),
                ranges: vec![(id, range)],
                sampled: None,
                received_max: rows.iter().map(|row| row.received_at).max().unwrap(),
            };
            adds.push(cold.stage(pending).await.unwrap());
        }
        let change = Change {
            adds,
            range: Some((id, range)),
            ..Change::default()
        };
        let committed = cold
            .commit(Table::Events, &change, Timestamp::from_micros(1))
            .await;
        assert!(matches!(committed.unwrap(), CommitOutcome::Committed(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_stays_when_cold_has_committed_its_range_without_its_rows() {
    let world = World::start().await;
    world.log.publish_policy(&short()).await.unwrap();
    let url = world.dir.path().join("cold").display().to_string();
    let options = ColdOptions::default();
    let cold = ColdTier::open_for_writing(&url, &options).await.unwrap();
    let _compactor = world.compactor(&["--seal-after", "200ms", "--cold-url", &url]);
    world.publish(0..300, 10).await;
    let coverage = world.until_sealed().await;

    archive(&world, &cold, &coverage, false).await;

    eventually("slices are due and stay", async || {
        world.metric("isotherm_compactor_unproven_slices").await > 0.0
    })
    .await;
    assert_once(&world.stored().await, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_expire_when_the_cold_tier_has_them_and_then_the_log_is_purged() {
    let world = World::start().await;
    world.log.publish_policy(&short()).await.unwrap();
    let url = world.dir.path().join("cold").display().to_string();
    let cold = ColdTier::open_for_writing(&url, &ColdOptions::default())
        .await
        .unwrap();
    let args = [
        "--seal-after",
        "200ms",
        "--cold-url",
        &url,
        "--log-grace",
        "1s",
    ];
    let compactor = world.compactor(&args);
    world.publish(0..300, 10).await;
    let coverage = world.until_sealed().await;
    // Two seconds of the compactor's own clock, as its maintenance sees them.
    eventually("the slices are past their age", async || {
        let newest = coverage.partitions.iter().flat_map(|p| &p.slices);
        let newest = newest.filter_map(|slice| slice.received_max).max().unwrap();
        Timestamp::now().since(newest).as_secs() >= 2
    })
    .await;
    assert_once(&world.stored().await, 300);
    for partition in &coverage.partitions {
        assert_eq!(world.log.first_seq(partition.partition).await.unwrap(), 1);
    }

    archive(&world, &cold, &coverage, true).await;

    let client = world.client();
    eventually("nothing is left in warm", async || {
        let coverage = client.coverage().await.unwrap();
        coverage
            .partitions
            .iter()
            .all(|partition| partition.slices.is_empty())
    })
    .await;
    for partition in &coverage.partitions {
        eventually("the log is purged of all but the last", async || {
            world.log.first_seq(partition.partition).await.unwrap() == partition.sealed
        })
        .await;
    }
    let expired = "isotherm_tier_removed_events_total{reason=\"expired\",tier=\"warm\"}";
    assert_eq!(world.metric(expired).await, 300.0);
    // It continues after the dropped slices.
    assert!(compactor.stop().await.success());
    let compactor = world.compactor(&["--seal-after", "200ms"]);
    world.publish(300..400, 10).await;
    world.until_sealed().await;
    assert_eq!(world.stored().await.len(), 100);
    assert!(compactor.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_over_quota_are_dropped_once_the_cold_tier_has_them() {
    let world = World::start().await;
    let mut rules = short();
    rules.policies[0].warm = Some(Warm {
        max_age_ms: 7 * 86_400_000,
        max_bytes: Some(1),
    });
    world.log.publish_policy(&rules).await.unwrap();
    let url = world.dir.path().join("cold").display().to_string();
    let cold = ColdTier::open_for_writing(&url, &ColdOptions::default())
        .await
        .unwrap();
    let _compactor = world.compactor(&["--seal-after", "200ms", "--cold-url", &url]);
    world.publish(0..300, 10).await;
    let coverage = world.until_sealed().await;
    assert_once(&world.stored().await, 300);

    archive(&world, &cold, &coverage, true).await;

    eventually("all of it is gone", async || {
        world.stored().await.is_empty()
    })
    .await;
    let capped = "isotherm_tier_removed_events_total{reason=\"capped\",tier=\"warm\"}";
    eventually("and is counted", async || {
        world.metric(capped).await == 300.0
    })
    .await;
}
