use event::{SeqRange, StoredEvent, Timestamp};
use warm_tier::{
    Error, Scanner,
    remote::{Order, Scan, Table},
};

use crate::{
    seal::two_classes,
    world::{PARTITION, START, World, events, frames, sealed_ranges},
};

fn world() -> (World, warm_tier::Partition, Scanner) {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 3, &two_classes());
    let scanner = world.tier.scanner().unwrap();
    (world, partition, scanner)
}

fn all() -> Scan {
    Scan::new(Table::Events, PARTITION, vec![SeqRange { lo: 1, hi: 30 }])
}

fn rows(scanner: &Scanner, scan: &Scan) -> Vec<StoredEvent> {
    let batches = scanner.collect(scan).unwrap();
    batches
        .iter()
        .flat_map(|b| segment::decode(b).unwrap())
        .collect()
}

/// The same events, of which the last third is not sealed, and a second one is being sealed.
fn unsealed_world() -> (World, warm_tier::Partition, Scanner) {
    let world = World::new();
    let mut partition = world.partition();
    sealed_ranges(&mut partition, 1, &two_classes());
    partition.append(frames(11, 20)).unwrap();
    partition.start_seal().unwrap();
    partition.append(frames(21, 25)).unwrap();
    partition.append(frames(26, 30)).unwrap();
    let scanner = world.tier.scanner().unwrap();
    (world, partition, scanner)
}

#[track_caller]
fn check_in(
    (_world, _partition, scanner): (World, warm_tier::Partition, Scanner),
    change: impl FnOnce(&mut Scan),
    keep: impl Fn(&StoredEvent) -> bool,
) {
    let mut scan = all();
    scan.order = Order::Asc;
    change(&mut scan);
    let mut expected: Vec<_> = events(1, 30).into_iter().filter(keep).collect();
    assert!(!expected.is_empty());
    assert_eq!(rows(&scanner, &scan), expected);
    scan.order = Order::Desc;
    expected.reverse();
    assert_eq!(rows(&scanner, &scan), expected);
    scan.limit = Some(expected.len() as u64 - 1);
    assert_eq!(rows(&scanner, &scan), expected[..expected.len() - 1]);
}

#[track_caller]
fn check(change: impl Fn(&mut Scan), keep: impl Fn(&StoredEvent) -> bool) {
    check_in(world(), &change, &keep);
    check_in(unsealed_world(), &change, &keep);
}

fn is_of(event: &StoredEvent, conversation: &str) -> bool {
    event.event.conversation_id.as_str() == conversation
}

#[test]
fn one_conversation() {
    check(
        |scan| {
            scan.filter.tenant = Some("default".to_owned());
            scan.filter.conversation_id = Some("conversation-4".to_owned());
        },
        |event| is_of(event, "conversation-4"),
    );
}

#[test]
fn one_conversation_between_two_positions() {
    check(
        |scan| {
            scan.filter.tenant = Some("default".to_owned());
            scan.filter.conversation_id = Some("conversation-4".to_owned());
            scan.filter.after = Some((5, 4));
            scan.filter.before = Some((20, 5));
        },
        |event| is_of(event, "conversation-4") && (6..=20).contains(&event.position.seq),
    );
}

#[test]
fn some_types() {
    let types = ["tool.call", "no.such"];
    check(
        |scan| scan.filter.types = types.map(str::to_owned).to_vec(),
        |event| event.event.event_type.as_str() == "tool.call",
    );
}

#[test]
fn a_time_range_of_the_events_and_of_their_receipt() {
    let from = Timestamp::from_micros(START + 70 * 60_000_000);
    let to = Timestamp::from_micros(START + 200 * 60_000_000);
    let received = Timestamp::from_micros(START + 9_000_000);
    check(
        |scan| {
            scan.filter.timestamp_from = Some(from);
            scan.filter.timestamp_to = Some(to);
            scan.filter.received_after = Some(received);
        },
        |event| (from..to).contains(&event.event.timestamp) && event.received_at > received,
    );
}

#[test]
fn several_ranges_of_which_none_is_a_slice() {
    check(
        |scan| scan.ranges = vec![SeqRange { lo: 2, hi: 4 }, SeqRange { lo: 9, hi: 13 }],
        |event| matches!(event.position.seq, 2..=4 | 9..=13),
    );
}

#[test]
fn one_class() {
    check_in(
        world(),
        |scan| scan.class = Some("w60000-cforever".parse().unwrap()),
        |event| event.event.event_type.as_str().starts_with("error"),
    );
}

#[test]
fn the_newest_first_up_to_a_limit() {
    let (_world, _partition, scanner) = world();
    let mut scan = all();
    (scan.order, scan.limit) = (Order::Desc, Some(7));

    let mut expected = events(1, 30);
    expected.reverse();
    expected.truncate(7);
    assert_eq!(rows(&scanner, &scan), expected);
}

#[test]
fn slice_after_slice_in_the_order_of_the_archive() {
    let (_world, _partition, scanner) = world();
    let mut scan = all();
    scan.class = Some("w604800000-cforever".parse().unwrap());
    let found = rows(&scanner, &scan);

    let key = |event: &StoredEvent| {
        let range = (event.position.seq - 1) / 10;
        (range, event.event.conversation_id.clone(), event.position)
    };
    assert!(found.is_sorted_by_key(key));
    assert_eq!(found.len(), 200);
    scan.limit = Some(150);
    assert_eq!(rows(&scanner, &scan), found[..150]);
}

#[test]
fn some_columns_in_the_order_asked_for() {
    let (_world, _partition, scanner) = world();
    let mut scan = all();
    (scan.order, scan.limit) = (Order::Asc, Some(3));
    scan.columns = Some(["type", "content_len"].map(str::to_owned).to_vec());

    let batches = scanner.collect(&scan).unwrap();

    let names: Vec<_> = batches[0]
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    assert_eq!(names, ["type", "content_len"]);
    scan.columns = Some(vec!["nothing".to_owned()]);
    assert!(matches!(scanner.collect(&scan), Err(Error::Invalid(_))));
}

#[test]
fn a_range_that_is_not_here_is_an_error_and_not_an_empty_answer() {
    let (_world, _partition, scanner) = world();
    let mut scan = all();
    scan.ranges = vec![SeqRange { lo: 20, hi: 31 }];
    assert!(matches!(
        scanner.collect(&scan),
        Err(Error::NotCovered { .. })
    ));

    // A part that is not sealed has no classes yet.
    let (_world, _partition, scanner) = unsealed_world();
    let mut of_a_class = all();
    of_a_class.class = Some("w60000-cforever".parse().unwrap());
    let refused = scanner.collect(&of_a_class);
    assert!(matches!(refused, Err(Error::NotCovered { .. })));

    let mut planned_before_a_removal = all();
    planned_before_a_removal.removals = Some(7);
    let refused = scanner.collect(&planned_before_a_removal);
    assert!(matches!(refused, Err(Error::NotCovered { .. })));
}

#[test]
fn a_name_that_no_event_can_have_matches_nothing_and_leaves_all_slices() {
    let (_world, partition, scanner) = world();
    let nul = "a\0".to_owned();
    for change in [
        |scan: &mut Scan, nul: String| scan.filter.types = vec![nul],
        |scan: &mut Scan, nul: String| scan.filter.conversation_id = Some(nul),
        |scan: &mut Scan, nul: String| scan.filter.tenant = Some(nul),
    ] {
        let mut scan = all();
        change(&mut scan, nul.clone());
        assert_eq!(rows(&scanner, &scan), []);
    }
    let mut scan = all();
    scan.filter.types = vec![nul, "error.timeout".to_owned()];
    assert!(
        !rows(&scanner, &scan).is_empty(),
        "the other type is still found"
    );
    assert_eq!(partition.sealed().coverage().removals, 0);
}

#[test]
fn values_are_never_sql() {
    let (_world, _partition, scanner) = world();
    let mut scan = all();
    scan.filter.tenant = Some("x' OR '1'='1".to_owned());
    scan.filter.types = vec!["'); DROP TABLE events; --".to_owned()];
    assert!(rows(&scanner, &scan).is_empty());
}
