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
    let appended = partition.append(frames_of(lo, hi, events)).unwrap();
    assert!(appended.refused.is_none(), "{appended:?}");
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
