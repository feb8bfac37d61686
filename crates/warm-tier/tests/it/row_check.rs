use std::{sync::Arc, time::Duration};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use event::{PartitionId, SeqRange, StoredEvent, Timestamp};
use retention::{Cold, Policy, RuleSet, Selector};
use warm_tier::{
    PROOF_COLUMNS, Partition, Removals, RowCheck, RowsMissing, SealedPartition, Slice, Thinned,
    drop_slice,
};

use crate::world::{START, World, events, sealed_ranges};

fn columns(events: &[StoredEvent]) -> RecordBatch {
    let rows = segment::encode(events);
    let schema: SchemaRef = rows.schema();
    rows.project(&PROOF_COLUMNS.map(|name| schema.index_of(name).unwrap()))
        .unwrap()
}

/// A sealed slice with the events of the frames 1 to 10, ten each and a second apart.
struct Sealed {
    world: World,
    partition: Partition,
    slice: Slice,
}

impl Sealed {
    fn new() -> Self {
        let world = World::new();
        let mut partition = world.partition();
        sealed_ranges(&mut partition, 1, &RuleSet::default());
        let slice = partition.sealed().manifest().slices.remove(0);
        Self {
            world,
            partition,
            slice,
        }
    }

    /// The rows that are missing when cold has `found`.
    fn missing(&self, found: &[StoredEvent], removals: &Removals) -> RowsMissing {
        let rows = RowCheck::begin(&self.world.tier.engine()).unwrap();
        rows.add(columns(found)).unwrap();
        let missing = rows.missing(&self.partition.sealed(), &self.slice, removals);
        missing.unwrap().unwrap()
    }
}

fn count(rows: &RowCheck, sealed: &SealedPartition, slice: &Slice) -> Option<u64> {
    let missing = rows.missing(sealed, slice, &Removals::default()).unwrap();
    missing.map(|missing| missing.rows)
}

#[test]
fn a_row_is_missing_unless_its_position_and_checksum_are_there() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 2, &RuleSet::default());
    let sealed = partition.sealed();
    let slices = sealed.manifest().slices;
    let engine = world.tier.engine();
    let rows = RowCheck::begin(&engine).unwrap();
    // Two rows of the first slice are not there, one has other content, one is there twice.
    let mut found = events(1, 12);
    found.drain(3..5);
    found[0].crc32c ^= 1;
    let twice = found[50].clone();
    rows.add(columns(&found)).unwrap();
    rows.add(columns(&[twice])).unwrap();

    assert_eq!(count(&rows, &sealed, &slices[0]), Some(3));
    assert_eq!(count(&rows, &sealed, &slices[1]), Some(80));
    assert!(drop_slice(&sealed, &slices[1]).unwrap());
    assert_eq!(count(&rows, &sealed, &slices[1]), None);
}

#[test]
fn a_row_of_another_partition_is_no_row_of_the_slice() {
    let sealed = Sealed::new();
    let mut found = events(1, 10);
    for row in &mut found[..20] {
        row.position.partition = PartitionId::first(4);
    }
    assert_eq!(sealed.missing(&found, &Removals::default()).rows, 20);
}

#[test]
fn only_a_row_past_its_own_age_may_be_absent() {
    let sealed = Sealed::new();
    let errors_live_100_s = Policy {
        selector: Selector {
            event_types: vec!["error.*".to_owned()],
            ..Selector::default()
        },
        ..expiring(100_000)
    };
    let at = |seconds: i64| Removals {
        rules: Arc::new(RuleSet::new(vec![
            errors_live_100_s.clone(),
            expiring(5_000),
        ])),
        now: Timestamp::from_micros(START + seconds * 1_000_000),
        thinned: Vec::new(),
    };
    let is_error = |row: &&StoredEvent| row.event.event_type.as_str() == "error.timeout";
    let errors: Vec<_> = events(1, 10).iter().filter(is_error).cloned().collect();
    let end = |seconds: i64| Some(Timestamp::from_micros(START + seconds * 1_000_000));

    // Frame n was received after n seconds.
    let young = events(4, 10).len() - events(4, 10).iter().filter(is_error).count();
    let missing = sealed.missing(&errors, &at(9));
    assert_eq!((missing.rows, missing.until), (young as u64, end(15)));
    assert_eq!(sealed.missing(&errors, &at(16)).rows, 0);
    let missing = sealed.missing(&[], &at(16));
    assert_eq!(
        (missing.rows, missing.until),
        (errors.len() as u64, end(110))
    );
    assert_eq!(sealed.missing(&[], &at(111)).rows, 0);
}

#[test]
fn rows_that_no_rule_lets_expire_are_missing_for_ever() {
    let sealed = Sealed::new();
    let removals = Removals {
        now: Timestamp::from_micros(START).plus(Duration::from_secs(1 << 40)),
        ..Removals::default()
    };
    let missing = sealed.missing(&[], &removals);
    assert_eq!((missing.rows, missing.until), (100, None));
}

#[test]
fn a_thinned_file_excuses_as_many_rows_of_its_tenant_its_day_and_its_range_as_it_has_lost() {
    let sealed = Sealed::new();
    let lost_rows = |removed| Thinned {
        tenant: "default".to_owned(),
        received_on: Some(Timestamp::from_micros(START).date()),
        ranges: SeqRange { lo: 3, hi: 4 }.into(),
        removed,
    };
    let missing = |lo, hi, thinned: &[Thinned]| {
        let mut found = events(1, 10);
        found.retain(|row| !(lo..=hi).contains(&row.position.seq));
        let removals = Removals {
            thinned: thinned.to_vec(),
            ..Removals::default()
        };
        sealed.missing(&found, &removals).rows
    };
    assert_eq!(missing(3, 4, &[lost_rows(Some(20))]), 0);
    assert_eq!(missing(3, 4, &[lost_rows(Some(19))]), 1);
    assert_eq!(missing(3, 4, &[lost_rows(None)]), 0);
    assert_eq!(missing(3, 5, &[lost_rows(None)]), 10);
    let half = lost_rows(Some(10));
    assert_eq!(missing(3, 4, &[half.clone(), half.clone()]), 0);
    let (mut other, mut day, mut old) = (half.clone(), half.clone(), half);
    other.tenant = "other".to_owned();
    day.received_on = Some("2020-01-01".to_owned());
    old.received_on = None;
    assert_eq!(missing(3, 3, &[other]), 10);
    assert_eq!(missing(3, 3, &[day]), 10);
    assert_eq!(missing(3, 3, &[old]), 0);
}

fn expiring(max_age_ms: u64) -> Policy {
    let built_in = Policy::built_in();
    Policy {
        warm: built_in.warm.clone().map(|warm| retention::Warm {
            max_age_ms: 1,
            ..warm
        }),
        cold: Some(Cold {
            max_age_ms: Some(max_age_ms),
            disabled: false,
            sampling: None,
        }),
        ..built_in
    }
}
