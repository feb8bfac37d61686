use std::{fs::OpenOptions, os::unix::fs::FileExt as _, path::Path};

use event::SeqRange;
use retention::RuleSet;
use warm_tier::{
    Error, WarmTier,
    remote::{Scan, Table},
};

use crate::{
    seal::read,
    world::{PARTITION, World, events, frames, sealed_ranges},
};

/// Overwrites the middle of a file, behind its headers.
pub(crate) fn damage(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let len = file.metadata().unwrap().len();
    let garbage = vec![0xA5; usize::try_from(len - 12_288).unwrap()];
    file.write_all_at(&garbage, 12_288).unwrap();
}

#[test]
fn a_second_process_is_refused_with_one_sentence() {
    let world = World::new();
    let error = WarmTier::open(world.options()).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }));
    assert!(
        error
            .to_string()
            .ends_with("is in use by another compactor; stop that one first")
    );
}

#[test]
fn a_slice_that_a_scan_finds_damaged_becomes_a_gap() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 2, &RuleSet::default());
    let slice = partition.sealed().manifest().slices[0].clone();
    damage(&world.partition_dir().join(&slice.file));
    let scanner = world.tier.scanner().unwrap();
    let scan = Scan::new(Table::Events, PARTITION, vec![SeqRange { lo: 1, hi: 20 }]);

    scanner.collect(&scan).unwrap_err();

    assert_eq!(partition.sealed().coverage().gaps.len(), 1);
    assert_eq!(read(&scanner, 11, 20), events(11, 20));
}

#[test]
fn an_open_segment_of_an_earlier_version_is_removed_and_its_range_is_read_from_the_log_again() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 1, &RuleSet::default());
    drop(partition);
    let open = world.partition_dir().join("open-11.duckdb");
    std::fs::write(&open, "of 0.1").unwrap();

    let world = world.restarted();
    let partition = world.partition();

    assert_eq!(partition.next_seq(), 11);
    assert!(!open.exists());
}

#[test]
fn a_range_that_the_log_no_longer_has_becomes_a_gap() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 1, &RuleSet::default());

    partition.skip_to(20).unwrap();

    partition.append(frames(20, 22)).unwrap();
    partition.seal(&RuleSet::default()).unwrap();
    let coverage = partition.sealed().coverage();
    assert_eq!((coverage.gaps[0].lo, coverage.gaps[0].hi), (11, 19));
    assert_eq!((coverage.sealed, coverage.committed), (22, 22));
}

#[test]
fn a_frame_that_cannot_be_decoded_is_counted_and_its_sequence_is_covered() {
    let world = World::new();
    let mut partition = world.partition();
    let mut batch = frames(1, 3);
    batch.events.retain(|event| event.position.seq != 2);
    batch.dead_letters = vec![2];

    partition.append(batch).unwrap();
    partition.seal(&RuleSet::default()).unwrap();

    assert_eq!(partition.sealed().manifest().dead_letters, 1);
    assert_eq!(partition.sealed().coverage().sealed, 3);
}
