use std::time::Duration;

use cold_tier::{Change, ColdTier, CommitOutcome, DayOf, PendingFile, Table};
use event::{SeqRange, StoredEvent, Timestamp};
use retention::{Policy, RuleSet, Selector, Warm};
use testkit::{Service, ShiftedClock, eventually};
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
    archive_those(world, cold, coverage, |_| with_rows).await;
}

/// The same, with those rows that `has` selects, in two files as if they took too much memory for one: they do
/// not end with a slice.
pub(crate) async fn archive_those(
    world: &World,
    cold: &ColdTier,
    coverage: &Coverage,
    has: impl Fn(&StoredEvent) -> bool,
) {
    for partition in &coverage.partitions {
        let (id, range) = (partition.partition, partition.sealed_range().unwrap());
        let mut adds = Vec::new();
        for (lo, hi) in [(range.lo, range.hi - 1), (range.hi, range.hi)] {
            let part = SeqRange { lo, hi };
            let scan = Scan::new(remote::Table::Events, id, vec![part]);
            let batches = world.client().collect(&scan).await.unwrap();
            let rows = batches.iter().flat_map(|b| segment::decode(b).unwrap());
            let rows: Vec<_> = rows.filter(&has).collect();
            let Some(first) = rows.first() else {
                continue;
            };
            let pending = PendingFile {
                table: Table::Events,
                tenant: Some(first.event.tenant.clone()),
                dt: Some(DayOf::ReceivedAt.day(first)),
                rows: segment::encode(&rows),
                class: Some(partition.slices[0].class),
                ranges: vec![(id, part)],
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
    let (url, cold) = world.cold().await;
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
async fn a_slice_stays_without_its_rows_when_a_file_across_it_has_those_of_its_neighbour() {
    let world = World::start().await;
    world.log.publish_policy(&short()).await.unwrap();
    let (url, cold) = world.cold().await;
    let _compactor = world.compactor(&["--seal-after", "200ms", "--cold-url", &url]);
    world.publish(0..100, 10).await;
    let first = world.until_sealed().await;
    world.publish(100..300, 10).await;
    let coverage = world.until_sealed().await;
    let end = |id| first.partition(id).unwrap().sealed;

    // All rows of the second slice, and a few of the first.
    let has = |row: &StoredEvent| {
        let seq = row.position.seq;
        seq > end(row.position.partition) || seq == 1
    };
    archive_those(&world, &cold, &coverage, has).await;

    eventually("only the second slice leaves", async || {
        let coverage = world.client().coverage().await.unwrap();
        let is_left = |own: &remote::PartitionCoverage| {
            own.slices.iter().map(|slice| slice.hi).collect::<Vec<_>>() == [end(own.partition)]
        };
        coverage.partitions.iter().all(is_left)
    })
    .await;
    eventually("they are counted", async || {
        world.metric("isotherm_compactor_unproven_slices").await == 2.0
    })
    .await;
    assert_once(&world.stored().await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_leaves_when_cold_has_its_rows_in_another_class_and_stays_when_it_has_not() {
    for is_complete in [true, false] {
        let world = World::start().await;
        let (url, cold) = world.cold().await;
        let args = ["--seal-after", "200ms", "--cold-url", &url];
        let compactor = world.compactor(&args);
        world.publish(0..300, 10).await;
        let coverage = world.until_sealed().await;
        let has = |row: &StoredEvent| is_complete || row.position.seq > 2;
        archive_those(&world, &cold, &coverage, has).await;
        assert!(compactor.stop().await.success());
        std::fs::remove_dir_all(world.data()).unwrap();
        world.log.publish_policy(&short()).await.unwrap();

        let _compactor = world.compactor(&args);
        eventually("it is ready", async || world.is_ready().await).await;
        world.until_sealed().await;

        if is_complete {
            eventually("nothing is left in warm", async || {
                world.stored().await.is_empty()
            })
            .await;
        } else {
            eventually("slices are due and stay", async || {
                world.metric("isotherm_compactor_unproven_slices").await >= 2.0
            })
            .await;
            assert_once(&world.stored().await, 300);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compactor_whose_clock_is_a_day_ahead_drops_no_slice_early() {
    let world = World::start().await;
    let mut rules = short();
    rules.policies[0].warm.as_mut().unwrap().max_age_ms = 3_600_000;
    world.log.publish_policy(&rules).await.unwrap();
    let (url, cold) = world.cold().await;
    let args = [
        "--seal-after",
        "200ms",
        "--log-grace",
        "0s",
        "--cold-url",
        &url,
    ];
    let clock = ShiftedClock::ahead(Duration::from_secs(24 * 3600));
    let program = env!("CARGO_BIN_EXE_compactor");
    let _compactor = Service::start_with(program, world.args(&args), [clock.env()]);
    world.publish(0..300, 10).await;
    let coverage = world.until_sealed().await;

    archive(&world, &cold, &coverage, true).await;

    for partition in &coverage.partitions {
        // It looks for old slices before it purges.
        eventually("the log is purged of all but the last", async || {
            world.log.first_seq(partition.partition).await.unwrap() == partition.sealed
        })
        .await;
    }
    assert_once(&world.stored().await, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_expire_when_the_cold_tier_has_them_and_then_the_log_is_purged() {
    let world = World::start().await;
    world.log.publish_policy(&short()).await.unwrap();
    let (url, cold) = world.cold().await;
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
    let (url, cold) = world.cold().await;
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
