//! Ranges, rewrites and rollups that are larger than what a run may have in memory.

use std::{collections::BTreeMap, fs};

use cold_tier::Table;
use event::{ConversationId, Event, RangeSet};
use retention::{Cold, RuleSet};

use crate::world::{PARTITIONS, World, event, policy, sampling};

const EVENTS: u64 = 1200;
const LIMIT: u64 = 64 << 10;

/// Six hundred conversations of two events each: more than fit into one step of the sampling.
fn padded(number: u64) -> Event {
    let conversation = ConversationId::new(&format!("conversation-{}", number % 600));
    Event {
        conversation_id: conversation.unwrap(),
        metadata: format!("{{\"pad\":\"{}\"}}", "x".repeat(300)),
        ..event(number)
    }
}

fn keep(sampling: Option<retention::Sampling>) -> Cold {
    Cold {
        max_age_ms: None,
        disabled: false,
        sampling,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_takes_more_memory_than_a_file_may_is_committed_at_once_in_several_files() {
    let limit = LIMIT.to_string();
    let small = ["--file-memory-bytes", &limit];
    let world = World::start(Some(policy(3_600_000, keep(None)))).await;
    world.publish_events((0..EVENTS).map(padded)).await;
    world.until_sealed().await;

    world.archive_with("cold", &small).await;

    let (_, snapshot) = world.snapshot("cold").await;
    let files: Vec<_> = snapshot.events.files().cloned().collect();
    assert!(files.len() > 8, "{} files", files.len());
    // Midnight may divide the rows of a range.
    let mut ranges_by_day: BTreeMap<_, RangeSet> = BTreeMap::new();
    for file in &files {
        let provenance = file.provenance.as_ref().unwrap();
        assert!(provenance.memory_bytes.unwrap() <= LIMIT);
        let (partition, range) = provenance.ranges[0];
        let ranges = ranges_by_day.entry((partition, &file.dt)).or_default();
        assert!(ranges.intersect(range).is_empty(), "{range} twice");
        ranges.insert(range);
    }
    let commits = snapshot.events.version().unwrap();
    assert_eq!(commits, u64::from(PARTITIONS), "one commit a range");
    for table in [Table::HourlyStats, Table::ConversationSummary] {
        for file in snapshot.table(table).files() {
            let memory = file.provenance.as_ref().unwrap().memory_bytes.unwrap();
            assert!(memory < 2 * LIMIT, "{memory} of {}", file.path);
        }
    }
    assert_eq!(world.counted().await, [i64::try_from(EVENTS).unwrap(); 2]);
    assert_eq!(stored(&world, "cold").await, Vec::from_iter(0..EVENTS));

    // Each file names the sequences of its own rows, by which it can be put again.
    fs::remove_file(world.dir.path().join("cold/events").join(&files[3].path)).unwrap();
    let summary = world.archive_with("cold", &small).await;
    assert!(summary.contains("\"restored\":1,"), "{summary}");
    assert_eq!(stored(&world, "cold").await, Vec::from_iter(0..EVENTS));

    // In small steps sampling keeps the same rows as in one.
    world.archive_to("again").await;
    let rules = RuleSet::new(vec![policy(1, keep(Some(sampling())))]);
    world.log.publish_policy(&rules).await.unwrap();
    world.until_left_warm().await;
    let summary = world.archive_with("cold", &small).await;
    assert!(!summary.contains("\"sampled_out\":0,"), "{summary}");
    world.archive_to("again").await;
    let kept = world.in_cold("cold").await;
    assert_eq!(kept, world.in_cold("again").await);
    assert!(kept.iter().any(|row| row.sample_rate < 1.0));
}

/// The numbers of the events in cold, each of which is whole.
async fn stored(world: &World, cold: &str) -> Vec<u64> {
    let mut numbers = Vec::new();
    for row in world.in_cold(cold).await {
        let number = crate::world::number(&row);
        assert_eq!(row.event, padded(number));
        numbers.push(number);
    }
    numbers.sort_unstable();
    numbers
}
