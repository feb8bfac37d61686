//! What is not sealed, as readers see it.

use std::collections::BTreeMap;

use arrow::{array::RecordBatch, util::display::array_value_to_string};
use event::SeqRange;
use retention::RuleSet;
use warm_tier::{
    Partition, Scanner,
    remote::{Order, Scan, Table},
};

use crate::world::{PARTITION, World, events, frames};

fn scan(table: Table, lo: u64, hi: u64) -> Scan {
    Scan::new(table, PARTITION, vec![SeqRange { lo, hi }])
}

/// The rows as texts, with their numbers: a row may be in two parts.
fn texts(batches: &[RecordBatch], columns: usize) -> BTreeMap<String, usize> {
    let mut rows = BTreeMap::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let values = batch.columns()[..columns].iter();
            let values = values.map(|column| array_value_to_string(column, row).unwrap());
            *rows
                .entry(values.collect::<Vec<_>>().join(" "))
                .or_default() += 1;
        }
    }
    rows
}

fn three_parts() -> (World, Partition, Scanner) {
    let world = World::new();
    let mut partition = world.partition();
    for lo in [1, 11] {
        partition.append(frames(lo, lo + 9)).unwrap();
        partition.seal(&RuleSet::default()).unwrap().unwrap();
    }
    let scanner = world.tier.scanner().unwrap();
    partition.append(frames(21, 30)).unwrap();
    (world, partition, scanner)
}

#[test]
fn the_rollups_of_what_is_not_sealed_are_those_that_its_slice_will_have() {
    let (_world, _partition, scanner) = three_parts();
    for (table, columns) in [(Table::HourlyStats, 10), (Table::ConversationSummary, 16)] {
        // The whole part; a part of it, as a reader that began before its last frames needs it; with a sealed one.
        for (lo, hi) in [(21, 30), (23, 27), (15, 26), (1, 30)] {
            let scan = scan(table, lo, hi);
            let before = texts(&scanner.collect(&scan).unwrap(), columns);
            assert!(!before.is_empty());
            let mut sealed = three_parts();
            sealed.1.seal(&RuleSet::default()).unwrap().unwrap();
            let after = texts(&sealed.2.collect(&scan).unwrap(), columns);
            assert_eq!(before, after, "{table:?} {lo}..={hi}");
        }
    }
}

#[test]
fn rollups_are_filtered_and_ordered_whether_sealed_or_not() {
    let (_world, mut partition, scanner) = three_parts();
    let read = |scanner: &Scanner| {
        let mut all = Vec::new();
        for order in [Order::Asc, Order::Desc] {
            let mut types = scan(Table::HourlyStats, 21, 30);
            types.filter.types = vec!["tool.call".to_owned(), "none".to_owned()];
            let mut one = scan(Table::ConversationSummary, 21, 30);
            one.filter.conversation_id = Some("conversation-4".to_owned());
            let every = scan(Table::ConversationSummary, 21, 30);
            let mut foreign = every.clone();
            foreign.filter.tenant = Some("other".to_owned());
            for scan in [types, one, every, foreign] {
                let batches = scanner.collect(&Scan { order, ..scan }).unwrap();
                let first = batches.iter().filter(|batch| batch.num_rows() > 0);
                let rows = first.flat_map(|batch| {
                    (0..batch.num_rows()).map(|row| {
                        let columns = batch.columns().iter();
                        let texts = columns.map(|own| array_value_to_string(own, row).unwrap());
                        texts.collect::<Vec<_>>().join(" ")
                    })
                });
                all.push(rows.collect::<Vec<_>>());
            }
        }
        all
    };
    let before = read(&scanner);
    assert_eq!(before[1].len(), 1);
    assert_eq!(before[2].len(), 10);
    assert!(before[3].is_empty());
    partition.seal(&RuleSet::default()).unwrap().unwrap();
    assert_eq!(read(&scanner), before);
}

#[test]
fn every_event_is_read_once_before_during_and_after_a_seal() {
    let (_world, mut partition, scanner) = three_parts();
    let mut all = scan(Table::Events, 1, 30);
    all.order = Order::Asc;
    let read = || {
        let batches = scanner.collect(&all).unwrap();
        let rows = batches
            .iter()
            .flat_map(|batch| segment::decode(batch).unwrap());
        rows.collect::<Vec<_>>()
    };
    let expected = events(1, 30);
    assert_eq!(read(), expected);
    let task = partition.start_seal().unwrap();
    assert_eq!(read(), expected);
    // The manifest names the slices; the part is still here.
    let sealed = task.run(&RuleSet::default()).unwrap();
    assert_eq!(read(), expected);
    partition.finish_seal(&sealed, None).unwrap();
    assert_eq!(read(), expected);
}

#[test]
fn a_scan_of_what_is_not_sealed_ends_by_its_bytes() {
    let (_world, _partition, scanner) = three_parts();
    let mut some = scan(Table::Events, 15, 30);
    let lengths = |rows: &[event::StoredEvent]| {
        let of = |row: &event::StoredEvent| row.event.content.len() + row.event.metadata.len();
        rows.iter().map(of).sum::<usize>() as u64
    };
    let mut expected = events(15, 30);
    for order in [Order::Asc, Order::Desc] {
        some.order = order;
        // The first rows are of one part, the last of the other.
        for count in [3, 100] {
            some.max_bytes = Some(lengths(&expected[..count]));
            let batches = scanner.collect(&some).unwrap();
            let rows = batches
                .iter()
                .flat_map(|batch| segment::decode(batch).unwrap());
            assert_eq!(rows.collect::<Vec<_>>(), expected[..count], "{order:?}");
        }
        expected.reverse();
    }
}

#[test]
fn the_rollups_of_what_is_not_sealed_count_as_its_memory() {
    let bytes_of = |types: usize| {
        let world = World::new();
        let mut partition = world.partition();
        let mut many = events(1, 100);
        for (number, stored) in many.iter_mut().enumerate() {
            let kind = format!("type.{:04}", number % types);
            stored.event.event_type = event::EventType::new(&kind).unwrap();
            stored.event.timestamp = event::Timestamp::from_micros(0);
        }
        partition
            .append(crate::world::frames_of(1, 100, many))
            .unwrap();
        partition.open_state().open_bytes
    };
    assert!(bytes_of(1000) > bytes_of(1) + 999 * 100);
}
