use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use arrow::{
    array::AsArray as _,
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use event::{SeqRange, StoredEvent, Timestamp};
use retention::RuleSet;
use warm_tier::{
    Expiry, Scanner, SealedPartition, drop_slice, purgeable,
    remote::{Scan, Table},
};

use crate::{
    seal::{read, two_classes},
    world::{PARTITION, START, World, events, frames, sealed_ranges},
};

type Stats = BTreeMap<(i64, String), (i64, i64)>;

/// The `hourly_stats` of `lo..=hi`, summed over their rows.
fn hourly(scanner: &Scanner, lo: u64, hi: u64) -> Stats {
    let scan = Scan::new(Table::HourlyStats, PARTITION, vec![SeqRange { lo, hi }]);
    let mut stats = Stats::new();
    for batch in scanner.collect(&scan).unwrap() {
        let hours = batch["hour"].as_primitive::<TimestampMicrosecondType>();
        let types = batch["type"].as_string::<i32>();
        let (events, bytes) = (&batch["events"], &batch["bytes"]);
        for row in 0..batch.num_rows() {
            let sum = stats
                .entry((hours.value(row), types.value(row).to_owned()))
                .or_default();
            sum.0 += events.as_primitive::<Int64Type>().value(row);
            sum.1 += bytes.as_primitive::<Int64Type>().value(row);
        }
    }
    stats
}

fn hourly_by_hand(events: &[StoredEvent]) -> Stats {
    let mut stats = Stats::new();
    for StoredEvent { event, .. } in events {
        let key = (
            event.timestamp.hour().as_micros(),
            event.event_type.to_string(),
        );
        let sum = stats.entry(key).or_default();
        sum.0 += 1;
        sum.1 += i64::try_from(event.content.len()).unwrap();
    }
    stats
}

/// Per conversation: events, errors, start, last sequence.
type Summaries = BTreeMap<String, (i64, i64, i64, i64)>;

fn summaries(scanner: &Scanner, lo: u64, hi: u64) -> Summaries {
    let scan = Scan::new(
        Table::ConversationSummary,
        PARTITION,
        vec![SeqRange { lo, hi }],
    );
    let mut found = Summaries::new();
    for batch in scanner.collect(&scan).unwrap() {
        let ids = batch["conversation_id"].as_string::<i32>();
        let long = |name: &str, row| batch[name].as_primitive::<Int64Type>().value(row);
        let starts = batch["start_timestamp"].as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let start = starts.value(row);
            let sum = found
                .entry(ids.value(row).to_owned())
                .or_insert((0, 0, start, 0));
            sum.0 += long("events", row);
            sum.1 += long("errors", row);
            sum.2 = sum.2.min(start);
            sum.3 = sum.3.max(long("last_seq", row));
        }
    }
    found
}

fn summaries_by_hand(events: &[StoredEvent]) -> Summaries {
    let mut found = Summaries::new();
    for StoredEvent {
        event, position, ..
    } in events
    {
        let start = event.timestamp.as_micros();
        let sum = found
            .entry(event.conversation_id.to_string())
            .or_insert((0, 0, start, 0));
        sum.0 += 1;
        sum.1 += i64::from(event.event_type.as_str().starts_with("error"));
        sum.3 = i64::try_from(position.seq).unwrap();
    }
    found
}

fn merge_all(world: &World, sealed: &SealedPartition) {
    let mut merger = world.tier.merger();
    while merger
        .merge_once(sealed, 0, Instant::now())
        .unwrap()
        .is_some()
    {}
}

#[test]
fn a_merge_equals_its_inputs() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 8, &two_classes());
    let (sealed, scanner) = (partition.sealed(), world.tier.scanner().unwrap());
    let before = (hourly(&scanner, 1, 80), summaries(&scanner, 1, 80));
    assert_eq!(sealed.manifest().slices.len(), 16);

    merge_all(&world, &sealed);

    // The class that stays for a minute is not merged: the result would span more than its age.
    let levels: Vec<_> = sealed
        .manifest()
        .slices
        .iter()
        .map(|slice| slice.level)
        .collect();
    assert_eq!(levels.iter().filter(|level| **level == 1).count(), 1);
    assert_eq!(levels.len(), 9);
    assert_eq!(read(&scanner, 1, 80), events(1, 80));
    assert_eq!(
        (hourly(&scanner, 1, 80), summaries(&scanner, 1, 80)),
        before
    );
    scanner.release().unwrap();
    let files = std::fs::read_dir(world.partition_dir()).unwrap();
    let slices = files.filter(|file| {
        file.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with('L')
    });
    assert_eq!(slices.count(), 9, "the inputs are gone from the disk");
}

#[test]
fn rollups_equal_a_full_scan_at_every_stage() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 8, &two_classes());
    let scanner = world.tier.scanner().unwrap();
    let check = || {
        for (lo, hi) in [(1, 80), (1, 10), (5, 33), (80, 80)] {
            let rows = events(lo, hi);
            assert_eq!(hourly(&scanner, lo, hi), hourly_by_hand(&rows), "{lo}-{hi}");
            assert_eq!(
                summaries(&scanner, lo, hi),
                summaries_by_hand(&rows),
                "{lo}-{hi}"
            );
        }
    };

    check();
    merge_all(&world, &partition.sealed());
    check();
}

#[test]
fn a_slice_is_dropped_only_when_it_is_past_its_age_and_in_cold() {
    let world = World::new();
    let mut partition = world.partition();
    let rules = two_classes();
    sealed_ranges(&mut partition, 3, &rules);
    let (engine, sealed) = (world.tier.engine(), partition.sealed());
    // Frame 10 is received 10 s after the start, frame 20 at 20 s; errors stay for a minute.
    let at = |seconds: i64| Timestamp::from_micros(START + seconds * 1_000_000);

    let mut expiry = Expiry::default();
    let mut expire = |cold, now| {
        let mut due = expiry.past_age(&engine, &sealed, &rules, cold, now).due;
        due.retain(|slice| drop_slice(&sealed, slice).unwrap());
        due
    };

    let too_early = expire(30, at(69));
    let not_in_cold = expire(9, at(200));
    let dropped = expire(20, at(200));

    assert!(too_early.is_empty());
    assert!(not_in_cold.is_empty());
    let ranges: Vec<_> = dropped.iter().map(|slice| (slice.lo, slice.hi)).collect();
    assert_eq!(ranges, [(1, 10), (11, 20)]);
    let coverage = sealed.coverage();
    assert_eq!((coverage.slices.len(), coverage.removals), (4, 2));
    let left = read(&world.tier.scanner().unwrap(), 1, 20);
    assert!(
        left.iter()
            .all(|e| !e.event.event_type.as_str().starts_with("error"))
    );
}

#[test]
fn the_current_policy_decides_the_age_not_the_class() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 1, &two_classes());
    let (engine, sealed) = (world.tier.engine(), partition.sealed());
    let now = Timestamp::from_micros(START).plus(Duration::from_secs(3600));

    let rules = RuleSet::default();
    let due = Expiry::default().past_age(&engine, &sealed, &rules, 10, now);

    assert!(due.due.is_empty() && due.unread.is_empty());
}

#[test]
fn the_log_keeps_events_that_are_young_or_not_yet_in_cold() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 3, &RuleSet::default());
    partition.append(frames(31, 35)).unwrap();
    let sealed = partition.sealed();
    let at = |seconds: i64| Timestamp::from_micros(START + seconds * 1_000_000);

    assert_eq!(purgeable(&sealed, 0, at(1000)), None);
    assert_eq!(purgeable(&sealed, 20, at(1000)), Some(20));
    assert_eq!(purgeable(&sealed, 99, at(1000)), Some(30));
    assert_eq!(purgeable(&sealed, 99, at(15)), Some(10));
    assert_eq!(purgeable(&sealed, 99, at(5)), None);
}
