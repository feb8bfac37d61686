//! The bound on the types of an hour in `hourly_stats`.

use std::{collections::BTreeMap, time::Instant};

use arrow::{array::AsArray as _, datatypes::Int64Type};
use event::{EventType, SeqRange, StoredEvent, Timestamp};
use event_proto::EncodedEvent;
use retention::RuleSet;
use segment::{MAX_HOURLY_TYPES, OTHER_TYPES};
use warm_tier::{
    Scanner,
    remote::{Scan, Table},
};

use crate::world::{PARTITION, START, World, event, frames_of};

/// Event `number` of frame `seq`: of one hour, and of `kind`.
fn of_type(number: u64, seq: u64, kind: &str) -> StoredEvent {
    let mut stored = event(number, seq, u16::try_from(number % 1000).unwrap());
    stored.event.event_type = EventType::new(kind).unwrap();
    stored.event.timestamp = Timestamp::from_micros(START);
    stored.crc32c = EncodedEvent::encode(&stored.event).crc32c;
    stored
}

/// The events of `hourly_stats` of `lo..=hi` by type.
fn events_by_type(scanner: &Scanner, lo: u64, hi: u64) -> BTreeMap<String, i64> {
    let scan = Scan::new(Table::HourlyStats, PARTITION, vec![SeqRange { lo, hi }]);
    let mut found = BTreeMap::new();
    for batch in scanner.collect(&scan).unwrap() {
        let types = batch["type"].as_string::<i32>().iter().flatten();
        let events = batch["events"].as_primitive::<Int64Type>().values();
        for (kind, events) in types.zip(events) {
            *found.entry(kind.to_owned()).or_default() += events;
        }
    }
    found
}

#[test]
fn an_hour_has_a_bounded_number_of_types_and_exact_sums_when_sealed_and_merged() {
    let world = World::new();
    let mut partition = world.partition();
    let rules = RuleSet::default();
    let limit = u64::try_from(MAX_HOURLY_TYPES).unwrap();
    let scanner = world.tier.scanner().unwrap();
    for seq in 1..=8 {
        // The frequent types come last by name, and yet are kept.
        let own = (0..limit).map(|n| of_type(seq * 2000 + n, seq, &format!("a.{n:04}.{seq}")));
        let frequent =
            (0..6).map(|n| of_type(seq * 2000 + limit + n, seq, &format!("z.{}", n / 2)));
        let events = own.chain(frequent).collect();
        partition.append(frames_of(seq, seq, events)).unwrap();
        let open = events_by_type(&scanner, seq, seq);
        partition.seal(&rules).unwrap().unwrap();
        assert_eq!(events_by_type(&scanner, seq, seq), open);
    }

    let one = events_by_type(&scanner, 1, 1);
    assert_eq!(one.len(), MAX_HOURLY_TYPES + 1);
    assert_eq!((one["z.0"], one["z.2"]), (2, 2));
    assert!(one.contains_key("a.0996.1") && !one.contains_key("a.0997.1"));
    assert_eq!(one[OTHER_TYPES], 3);

    let sealed = partition.sealed();
    let merged = world.tier.merger().merge_once(&sealed, 0, Instant::now());
    assert!(merged.unwrap().is_some());
    let merged = events_by_type(&scanner, 1, 8);
    assert_eq!(merged.len(), MAX_HOURLY_TYPES + 1);
    assert_eq!(merged["z.0"], 16);
    assert_eq!(merged.values().sum::<i64>(), 8 * 1006);
}
