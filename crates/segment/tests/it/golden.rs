//! Files of every version stay readable, and the same events still give the same bytes.

use bytes::Bytes;
use segment::{
    decode, encode,
    parquet_io::{self, Selection},
};

use crate::rows::events;

const V1_FILE: &[u8] = include_bytes!("../golden/v1.parquet");
const GOLDEN_ROWS: u64 = 100;

#[test]
fn a_file_of_version_1_is_read_as_it_was_written() {
    let batches = parquet_io::read(Bytes::from_static(V1_FILE), Selection::default()).unwrap();
    let read: Vec<_> = batches.iter().flat_map(|b| decode(b).unwrap()).collect();
    assert_eq!(read, events(GOLDEN_ROWS));
}

/// An object is named by the hash of its bytes: if a library writes other bytes, a re-run writes other
/// objects. A failure after an upgrade of Parquet is known and harmless; add a new golden file.
#[test]
fn a_file_is_still_written_byte_for_byte() {
    let written = parquet_io::write(&[encode(&events(GOLDEN_ROWS))]).unwrap();
    assert!(
        written == V1_FILE,
        "{} bytes, expected {}",
        written.len(),
        V1_FILE.len()
    );
}
