use duckdb::Connection;
use event::{SeqRange, StoredEvent};
use retention::{Policy, RuleSet, Selector, Warm};
use warm_tier::{
    Scanner,
    remote::{Order, Scan, Table},
};

use crate::world::{PARTITION, World, event, events, frames, frames_of};

/// Errors stay for a minute, the rest as the built-in policy says.
pub(crate) fn two_classes() -> RuleSet {
    let short = Policy {
        name: "test/short-errors".to_owned(),
        priority: 1,
        selector: Selector {
            event_types: vec!["error*".to_owned()],
            ..Selector::default()
        },
        hot: None,
        warm: Some(Warm {
            max_age_ms: 60_000,
            max_bytes: None,
        }),
        cold: None,
        dry_run: false,
    };
    RuleSet::new(vec![short])
}

pub(crate) fn read(scanner: &Scanner, lo: u64, hi: u64) -> Vec<StoredEvent> {
    let mut scan = Scan::new(Table::Events, PARTITION, vec![SeqRange { lo, hi }]);
    scan.order = Order::Asc;
    let batches = scanner.collect(&scan).unwrap();
    batches
        .iter()
        .flat_map(|batch| segment::decode(batch).unwrap())
        .collect()
}

#[test]
fn a_sealed_segment_returns_every_event_unchanged() {
    let world = World::new();
    let mut partition = world.partition();
    partition.append(frames(1, 3)).unwrap();
    partition.append(frames(4, 9)).unwrap();

    let sealed = partition.seal(&RuleSet::default()).unwrap().unwrap();

    assert_eq!(sealed.range, SeqRange { lo: 1, hi: 9 });
    assert_eq!(read(&world.tier.scanner().unwrap(), 1, 9), events(1, 9));
    assert_eq!(partition.next_seq(), 10);
    assert!(partition.seal(&RuleSet::default()).unwrap().is_none());
}

#[test]
fn rows_that_are_kept_equally_long_share_a_slice() {
    let world = World::new();
    let mut partition = world.partition();
    partition.append(frames(1, 9)).unwrap();

    let sealed = partition.seal(&two_classes()).unwrap().unwrap();

    let slices: Vec<_> = (sealed.slices.iter())
        .map(|slice| (slice.class.to_string(), slice.rows))
        .collect();
    assert_eq!(
        slices,
        [
            ("w60000-cforever".to_owned(), 30),
            ("w604800000-cforever".to_owned(), 60)
        ]
    );
    assert_eq!(read(&world.tier.scanner().unwrap(), 1, 9), events(1, 9));
}

#[test]
fn classes_may_depend_on_labels() {
    let mut rules = two_classes();
    rules.policies[0].selector = Selector {
        match_labels: [("n".to_owned(), "11".to_owned())].into(),
        ..Selector::default()
    };
    let world = World::new();
    let mut partition = world.partition();
    partition.append(frames(1, 9)).unwrap();

    let sealed = partition.seal(&rules).unwrap().unwrap();

    let rows: Vec<_> = sealed.slices.iter().map(|slice| slice.rows).collect();
    assert_eq!(rows, [1, 89]);
}

#[test]
fn what_was_not_sealed_is_read_from_the_log_again_after_a_restart() {
    let world = World::new();
    let mut partition = world.partition();
    partition.append(frames(1, 3)).unwrap();
    partition.seal(&RuleSet::default()).unwrap();
    partition.append(frames(4, 6)).unwrap();
    assert_eq!(partition.open_state().events, 30);
    drop(partition);

    let world = world.restarted();
    let mut partition = world.partition();
    assert_eq!(partition.next_seq(), 4);
    partition.append(frames(4, 9)).unwrap();
    partition.seal(&RuleSet::default()).unwrap();
    assert_eq!(read(&world.tier.scanner().unwrap(), 1, 9), events(1, 9));
}

#[test]
fn frames_are_taken_while_the_part_before_is_sealed() {
    let world = World::new();
    let mut partition = world.partition();
    partition.append(frames(1, 3)).unwrap();

    let seal = partition.start_seal().unwrap();
    // One is a repeat of an event of the part that is sealed.
    let mut next = frames(4, 6);
    next.events[0] = event(15, 4, 0);
    assert_eq!(partition.append(next).unwrap().dropped.len(), 1);
    let sealed = seal.run(&RuleSet::default()).unwrap();
    let while_sealing = partition.dropped_after(0).unwrap();
    partition.finish_seal(&sealed, None).unwrap();

    assert_eq!(partition.dropped_after(0).unwrap(), while_sealing);
    assert_eq!((while_sealing[0].seq, while_sealing.len()), (4, 1));
    let again = frames_of(7, 7, vec![event(15, 7, 0), event(45, 7, 1)]);
    assert_eq!(partition.append(again).unwrap().dropped.len(), 2);
    partition.seal(&RuleSet::default()).unwrap().unwrap();
    let rows = read(&world.tier.scanner().unwrap(), 1, 7);
    assert_eq!(rows.len(), 59);
}

#[test]
fn a_seal_that_fails_can_be_run_again() {
    let world = World::new();
    let mut partition = world.partition();
    partition.append(frames(1, 3)).unwrap();
    let seal = partition.start_seal().unwrap();
    let path = world.partition_dir().join("ids-1-3.duckdb.tmp");
    std::fs::create_dir(&path).unwrap();
    seal.run(&RuleSet::default()).unwrap_err();
    std::fs::remove_dir(&path).unwrap();
    partition.append(frames(4, 4)).unwrap();

    let again = partition.start_seal().unwrap();
    let sealed = again.run(&RuleSet::default()).unwrap();
    partition.finish_seal(&sealed, None).unwrap();

    assert_eq!(sealed.range, SeqRange { lo: 1, hi: 3 });
    assert_eq!(read(&world.tier.scanner().unwrap(), 1, 3), events(1, 3));
    assert_eq!(partition.open_state().events, 10);
}

#[test]
fn the_end_of_the_log_is_known_after_a_restart_though_nothing_was_sealed() {
    let world = World::new();
    let mut partition = world.partition();
    partition.append(frames(1, 3)).unwrap();
    partition.note_log_end().unwrap();
    let end = partition.log_end().unwrap();
    drop(partition);

    let world = world.restarted();
    let partition = world.partition();

    assert_eq!(
        (partition.next_seq(), partition.log_end().unwrap()),
        (1, end)
    );
    assert_eq!(end.through, 3);
    assert_eq!(end.anchor.unwrap().crc32c, events(3, 3)[9].crc32c);
}

#[test]
fn a_batch_that_does_not_continue_is_refused_and_changes_nothing() {
    let world = World::new();
    let mut partition = world.partition();
    partition.append(frames(1, 3)).unwrap();

    let error = partition.append(frames(5, 6)).unwrap_err();

    assert_eq!(
        error.to_string(),
        "g1p03e1: the batch starts at 5, expected 4"
    );
    assert_eq!(partition.next_seq(), 4);
}

#[test]
fn content_is_really_compressed_with_zstd() {
    let world = World::new();
    let mut partition = world.partition();
    // Few, large, so that the choice is not left to chance.
    partition.append(frames(1, 400)).unwrap();
    let sealed = partition.seal(&RuleSet::default()).unwrap().unwrap();
    drop(partition);

    let path = world.partition_dir().join(&sealed.slices[0].file);
    let connection = Connection::open_in_memory().unwrap();
    connection
        .execute_batch(&format!(
            "ATTACH '{}' AS s (READ_ONLY); USE s",
            path.display()
        ))
        .unwrap();
    let of = |column: &str| -> Vec<String> {
        let sql = format!(
            "SELECT DISTINCT compression FROM pragma_storage_info('events') \
             WHERE column_name = '{column}' AND segment_type = 'VARCHAR' ORDER BY 1"
        );
        let mut statement = connection.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };

    assert_eq!(of("content"), ["ZSTD"]);
    assert_eq!(of("metadata"), ["ZSTD"]);
}

#[test]
fn a_range_without_events_is_sealed_too() {
    let world = World::new();
    let mut partition = world.partition();
    partition.append(frames(1, 3)).unwrap();
    partition.seal(&RuleSet::default()).unwrap();
    let mut again = frames(1, 3);
    again.range = SeqRange { lo: 4, hi: 6 };
    for event in &mut again.events {
        event.position.seq += 3;
    }
    let appended = partition.append(again).unwrap();
    assert_eq!((appended.stored, appended.dropped.len()), (0, 30));

    let sealed = partition.seal(&RuleSet::default()).unwrap().unwrap();

    assert!(sealed.slices.is_empty());
    let coverage = partition.sealed().coverage();
    assert_eq!((coverage.sealed, coverage.slices.len()), (6, 1));
    assert_eq!(read(&world.tier.scanner().unwrap(), 1, 6), events(1, 3));
}
