use arrow::{array::RecordBatch, datatypes::SchemaRef};
use event::StoredEvent;
use retention::RuleSet;
use warm_tier::{PROOF_COLUMNS, RowCheck, drop_slice};

use crate::world::{World, events, sealed_ranges};

fn columns(events: &[StoredEvent]) -> RecordBatch {
    let rows = segment::encode(events);
    let schema: SchemaRef = rows.schema();
    rows.project(&PROOF_COLUMNS.map(|name| schema.index_of(name).unwrap()))
        .unwrap()
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

    assert_eq!(rows.missing(&sealed, &slices[0]).unwrap(), Some(3));
    assert_eq!(rows.missing(&sealed, &slices[1]).unwrap(), Some(80));
    assert!(drop_slice(&sealed, &slices[1]).unwrap());
    assert_eq!(rows.missing(&sealed, &slices[1]).unwrap(), None);
}
