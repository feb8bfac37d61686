//! Events that are large beside the memory of DuckDB.

use std::time::Instant;

use event::SeqRange;
use retention::RuleSet;
use warm_tier::{
    Partition,
    remote::{Order, Scan, Table},
};

use crate::world::{PARTITION, World, frames_of, large_event};

/// The least memory limit of the compactor: 64 MiB for merges, which may have a quarter of it as content.
const MEMORY: u64 = 256 * 1024 * 1024;

fn seal_large(partition: &mut Partition, events: u64) {
    let lo = partition.next_seq();
    let hi = lo + events - 1;
    let events = (lo..=hi).map(|seq| large_event(seq, seq)).collect();
    partition.append(frames_of(lo, hi, events)).unwrap();
    partition.seal(&RuleSet::default()).unwrap().unwrap();
}

#[test]
fn a_merge_takes_only_what_fits_into_its_memory_and_the_rest_stays_as_it_is() {
    let world = World::with_memory(MEMORY);
    let mut partition = world.partition();
    for _ in 0..8 {
        seal_large(&mut partition, 8);
    }
    for _ in 0..8 {
        seal_large(&mut partition, 20);
    }
    let (sealed, mut merger) = (partition.sealed(), world.tier.merger());

    let merged = merger
        .merge_once(&sealed, 0, Instant::now())
        .unwrap()
        .unwrap();

    assert_eq!((merged.lo, merged.hi), (1, 64));
    // 40 MB are too many.
    assert!(
        merger
            .merge_once(&sealed, 0, Instant::now())
            .unwrap()
            .is_none()
    );
    let mut scan = Scan::new(Table::Events, PARTITION, vec![SeqRange { lo: 1, hi: 224 }]);
    scan.order = Order::Asc;
    scan.columns = Some(vec!["seq".to_owned(), "crc32c".to_owned()]);
    let batches = world.tier.scanner().unwrap().collect(&scan).unwrap();
    let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    assert_eq!(rows, 224);
}

#[test]
fn a_part_of_the_largest_size_can_be_sealed() {
    let world = World::with_memory(MEMORY);
    let mut partition = world.partition();
    while partition.open_state().open_bytes < world.options().max_part_bytes() {
        let lo = partition.next_seq();
        let events = (lo..lo + 40).map(|seq| large_event(seq, seq)).collect();
        partition.append(frames_of(lo, lo + 39, events)).unwrap();
    }

    let sealed = partition.seal(&RuleSet::default()).unwrap().unwrap();

    let rows: u64 = sealed.slices.iter().map(|slice| slice.rows).sum();
    assert_eq!(rows, partition.next_seq() - 1);
}

/// Two slices with 60 events of 250,000 bytes each.
fn large_world() -> (World, Partition) {
    let world = World::new();
    let mut partition = world.partition();
    seal_large(&mut partition, 60);
    seal_large(&mut partition, 60);
    (world, partition)
}

fn all(order: Order) -> Scan {
    let range = SeqRange { lo: 1, hi: 120 };
    Scan {
        order,
        ..Scan::new(Table::Events, PARTITION, vec![range])
    }
}

#[test]
fn no_batch_of_a_scan_has_many_large_rows_in_whatever_order() {
    let (world, _partition) = large_world();
    for order in [Order::None, Order::Asc, Order::Desc] {
        let mut seqs = Vec::new();
        let scan = |batch: arrow::record_batch::RecordBatch| {
            let bytes = segment::memory_bytes(&batch);
            assert!(bytes <= 5 << 20, "{order:?}: {bytes} bytes");
            let rows = segment::decode(&batch).unwrap();
            seqs.extend(rows.iter().map(|row| row.position.seq));
            true
        };
        world
            .tier
            .scanner()
            .unwrap()
            .scan(&all(order), scan)
            .unwrap();
        match order {
            Order::Asc => assert!(seqs.is_sorted()),
            Order::Desc => assert!(seqs.iter().rev().is_sorted()),
            Order::None => seqs.sort_unstable(),
        }
        assert_eq!(seqs.len(), 120, "{order:?}");
        seqs.dedup();
        assert_eq!(seqs.len(), 120, "{order:?}");
    }
}

#[test]
fn a_scan_ends_by_its_bytes_or_its_rows() {
    let (world, _partition) = large_world();
    let scanner = world.tier.scanner().unwrap();
    let count = |limit, max_bytes, order| {
        let scan = Scan {
            limit,
            max_bytes,
            ..all(order)
        };
        let batches = scanner.collect(&scan).unwrap();
        batches.iter().map(|batch| batch.num_rows()).sum::<usize>()
    };
    for order in [Order::Asc, Order::Desc] {
        assert_eq!(count(None, Some(1), order), 1);
        assert_eq!(count(None, Some(250_000 * 61), order), 61);
        assert_eq!(count(Some(70), Some(250_000 * 61), order), 61);
        assert_eq!(count(Some(61), Some(u64::MAX), order), 61);
    }
    assert_eq!(count(Some(61), None, Order::None), 61);
}
