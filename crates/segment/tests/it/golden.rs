//! Files that were written once stay readable for ever, and are still written alike.

use bytes::Bytes;
use segment::{
    decode, encode,
    parquet_io::{self, Selection},
};

use crate::rows::events;

const V1: &[u8] = include_bytes!("../golden/v1.parquet");
const ROWS: u64 = 100;

#[test]
fn a_file_of_version_1_is_read_as_it_was_written() {
    let batches = parquet_io::read(Bytes::from_static(V1), Selection::default()).unwrap();
    let read: Vec<_> = batches.iter().flat_map(|b| decode(b).unwrap()).collect();
    assert_eq!(read, events(ROWS));
}

/// The bytes name the object: a library that writes others makes every re-run write anew. When
/// this fails after an upgrade of Parquet, that is known and harmless; add a new golden file.
#[test]
fn a_file_is_still_written_byte_for_byte() {
    let written = parquet_io::write(&[encode(&events(ROWS))]).unwrap();
    assert!(
        written == V1,
        "{} bytes, expected {}",
        written.len(),
        V1.len()
    );
}
