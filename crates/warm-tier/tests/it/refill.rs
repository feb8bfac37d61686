use std::fs;

use event::{SeqRange, StoredEvent};
use retention::{Policy, RuleSet, Selector};
use warm_tier::{RefillOutcome, RefillRows, SealedPartition, drop_slice, refill, to_refill};

use crate::{
    failure::damage,
    seal::{read, two_classes},
    world::{World, event, events, frames_of, sealed_ranges},
};

#[test]
fn a_damaged_slice_goes_into_quarantine_and_is_a_gap_until_it_is_refilled() {
    for damaged in ["damaged", "missing"] {
        let world = World::new();
        let mut partition = world.partition();
        sealed_ranges(&mut partition, 2, &two_classes());
        let slice = partition.sealed().manifest().slices[1].clone();
        let path = world.partition_dir().join(&slice.file);
        drop(partition);
        match damaged {
            "damaged" => damage(&path),
            _ => fs::remove_file(&path).unwrap(),
        }

        let world = world.restarted();
        let partition = world.partition();
        let (sealed, scanner) = (partition.sealed(), world.tier.scanner().unwrap());

        let coverage = sealed.coverage();
        assert_eq!(coverage.slices.len(), 3);
        assert_eq!(
            (coverage.gaps[0].lo, coverage.gaps[0].hi),
            (slice.lo, slice.hi)
        );
        assert_eq!(coverage.gaps[0].class, Some(slice.class));
        assert_eq!(
            read(&scanner, 1, 20).len(),
            200 - usize::try_from(slice.rows).unwrap()
        );
        assert!(to_refill(&sealed, 10, 1).is_empty(), "cold has it");
        assert!(
            to_refill(&sealed, 9, 2).is_empty(),
            "the log has it no longer"
        );

        let lost = to_refill(&sealed, 9, 1).remove(0);
        let rows = events(slice.lo, slice.hi);
        let refilled = refilled(&world, &sealed, &two_classes(), &rows[1..]);
        assert_eq!((refilled.slices, refilled.refused), (vec![], lost));
        assert_eq!(sealed.coverage().gaps.len(), 1);
        refill_all(&world, &sealed, &two_classes(), &rows);

        assert!(sealed.coverage().gaps.is_empty());
        assert_eq!(read(&scanner, 1, 20), events(1, 20));
    }
}

/// Refills the only group of lost slices from `rows`, in two parts.
fn refilled(
    world: &World,
    sealed: &SealedPartition,
    rules: &RuleSet,
    rows: &[StoredEvent],
) -> RefillOutcome {
    let engine = world.tier.engine();
    let lost = to_refill(sealed, 0, 1);
    assert_eq!(lost.len(), 1);
    let logged = RefillRows::begin(&engine).unwrap();
    let (first, second) = rows.split_at(rows.len() / 2);
    logged.add(first).unwrap();
    logged.add(second).unwrap();
    refill(&engine, sealed, &lost[0], rules, &logged).unwrap()
}

fn refill_all(world: &World, sealed: &SealedPartition, rules: &RuleSet, rows: &[StoredEvent]) {
    let refused = refilled(world, sealed, rules, rows).refused;
    assert_eq!(refused, []);
}

/// The classes and the numbers of rows of the slices.
fn classes(sealed: &SealedPartition) -> Vec<(String, u64)> {
    let slices = sealed.manifest().slices.into_iter();
    slices
        .map(|own| (own.class.to_string(), own.rows))
        .collect()
}

#[test]
fn two_classes_that_are_lost_after_the_rules_have_changed_are_refilled_together() {
    let tenth = RuleSet::new(vec![Policy {
        selector: Selector {
            conversations: vec!["conversation-1".to_owned()],
            ..Selector::default()
        },
        ..two_classes().policies[0].clone()
    }]);
    let short = "w60000-cforever".to_owned();
    let long = "w604800000-cforever".to_owned();
    for (rules, expected) in [
        // As they were, as is due now, and all where it is kept longest.
        (two_classes(), vec![(short.clone(), 33), (long.clone(), 67)]),
        (tenth, vec![(short, 10), (long.clone(), 90)]),
        (RuleSet::default(), vec![(long, 100)]),
    ] {
        let world = World::new();
        let mut partition = world.partition();
        sealed_ranges(&mut partition, 1, &two_classes());
        for slice in partition.sealed().manifest().slices {
            fs::remove_file(world.partition_dir().join(&slice.file)).unwrap();
        }
        drop(partition);
        let world = world.restarted();
        let partition = world.partition();
        let (sealed, scanner) = (partition.sealed(), world.tier.scanner().unwrap());
        assert_eq!(sealed.coverage().gaps.len(), 2);

        // The log has a repeat too.
        let logged = [events(1, 10), vec![event(50, 10, 10)]].concat();
        refill_all(&world, &sealed, &rules, &logged);

        assert!(sealed.coverage().gaps.is_empty());
        assert_eq!(classes(&sealed), expected);
        assert_eq!(read(&scanner, 1, 10), events(1, 10));
    }
}

#[test]
fn a_slice_and_its_ids_that_are_lost_together_are_recovered_from_the_log() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 1, &two_classes());
    // A repeat of the first range, and one within the second.
    let mut second = events(11, 20);
    second.insert(10, event(55, 11, 10));
    second.push(event(120, 20, 10));
    partition.append(frames_of(11, 20, second.clone())).unwrap();
    partition.seal(&two_classes()).unwrap();
    let slice = partition.sealed().manifest().slices[3].clone();
    assert_eq!(slice.lo, 11);
    for file in [&slice.file, "ids-11-20.duckdb"] {
        fs::remove_file(world.partition_dir().join(file)).unwrap();
    }
    drop(partition);

    let world = world.restarted();
    let mut partition = world.partition();
    let lost = slice.range();
    assert_eq!(partition.missing_ids().ranges(), [lost]);
    let in_slices = partition.in_slices(lost);
    assert!(in_slices.is_empty());
    let first = SeqRange { lo: 1, hi: 10 };
    assert_eq!(
        partition.in_slices(SeqRange { lo: 1, hi: 20 }),
        first.into()
    );
    let rows = partition.begin_id_recovery().unwrap();
    rows.add_logged(&second).unwrap();
    let recovered = partition.recover_ids(lost, &in_slices, &rows).unwrap();
    assert_eq!(recovered, Some(100));

    let dropped = partition.dropped_after(10).unwrap();
    let dropped: Vec<_> = dropped.iter().map(|own| (own.seq, own.idx)).collect();
    assert_eq!(dropped, [(11, 10), (20, 10)]);
    let sealed = partition.sealed();
    refill_all(&world, &sealed, &two_classes(), &second);
    assert_eq!(read(&world.tier.scanner().unwrap(), 1, 20), events(1, 20));
    let again = frames_of(21, 21, events(15, 15));
    assert_eq!(partition.append(again).unwrap().dropped.len(), 10);
}

#[test]
fn a_slice_that_leaves_while_its_ids_are_read_makes_them_be_read_again() {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 1, &RuleSet::default());
    drop(partition);
    fs::remove_file(world.partition_dir().join("ids-1-10.duckdb")).unwrap();
    let world = world.restarted();
    let mut partition = world.partition();
    let lost = SeqRange { lo: 1, hi: 10 };
    let in_slices = partition.in_slices(lost);
    assert_eq!(in_slices, lost.into());
    let rows = partition.begin_id_recovery().unwrap();
    let sealed = partition.sealed();
    let slice = sealed.manifest().slices[0].clone();
    assert!(drop_slice(&sealed, &slice).unwrap());

    let recovered = partition.recover_ids(lost, &in_slices, &rows).unwrap();

    assert_eq!(recovered, None);
    assert_eq!(partition.missing_ids().ranges(), [lost]);
    assert!(partition.in_slices(lost).is_empty());
}

#[test]
fn a_lost_id_file_and_its_duplicates_are_recovered_from_the_slices_and_the_log() {
    for damaged in [true, false] {
        let world = World::new();
        let mut partition = world.partition();
        sealed_ranges(&mut partition, 2, &two_classes());
        drop(partition);
        let path = world.partition_dir().join("ids-1-10.duckdb");
        if damaged {
            damage(&path);
        } else {
            fs::remove_file(&path).unwrap();
        }

        let world = world.restarted();
        let mut partition = world.partition();
        let lost = SeqRange { lo: 1, hi: 10 };
        assert_eq!(partition.missing_ids().ranges(), [lost]);
        let in_slices = partition.in_slices(lost);
        assert_eq!(in_slices, lost.into());
        let rows = partition.begin_id_recovery().unwrap();
        let repeat = event(21, 10, 50);
        let logged = [events(1, 10), vec![repeat.clone()]].concat();
        rows.add_logged(&logged).unwrap();
        partition.recover_ids(lost, &in_slices, &rows).unwrap();

        assert!(partition.missing_ids().is_empty());
        let dropped = partition.dropped_after(0).unwrap();
        let dropped: Vec<_> = dropped.iter().map(|own| (own.seq, own.idx)).collect();
        assert_eq!(dropped, [repeat.position.offset()]);
        let again = frames_of(21, 21, vec![event(55, 21, 0), event(999, 21, 1)]);
        assert_eq!(partition.append(again).unwrap().dropped.len(), 1);
    }
}
