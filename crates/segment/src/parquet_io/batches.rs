//! The rows of the batches that are read from a Parquet file: few if they are large.
//!
//! The encoded size of a row says nothing: a thousand equal contents of 256 KiB are encoded as one.

use arrow::{array::RecordBatch, compute::concat_batches};
use event::MAX_EVENT_BYTES;
use parquet::{
    basic::Type,
    file::{
        metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData},
        statistics::Statistics,
    },
};

use super::ROW_GROUP_ROWS;
use crate::error::Result;

/// Bytes of the largest values of a batch; bounds memory.
const BATCH_BYTES: usize = 4 << 20;
/// Bytes of texts that may be in one batch however they are distributed among its rows.
const ANY_BYTES: u64 = 12 << 20;

/// The most rows of one batch, by the row group with the largest rows.
pub(super) fn batch_rows(file: &ParquetMetaData) -> usize {
    let largest = file.row_groups().iter().map(largest_row).max();
    (BATCH_BYTES / largest.unwrap_or(0).max(1)).clamp(1, ROW_GROUP_ROWS)
}

/// The most bytes of a row that count; 0 if even all rows of `group` together have few.
fn largest_row(group: &RowGroupMetaData) -> usize {
    let (mut content, mut others, mut longest) = (0, 0_u64, MAX_EVENT_BYTES);
    for column in group.columns() {
        match column.column_path().string().as_str() {
            "content" => content = text_bytes(column),
            "content_len" => longest = greatest(column).unwrap_or(MAX_EVENT_BYTES),
            _ => others = others.saturating_add(text_bytes(column)),
        }
    }
    if others > ANY_BYTES {
        return MAX_EVENT_BYTES;
    }
    match content.saturating_add(others) {
        0..=ANY_BYTES => 0,
        _ => longest,
    }
}

/// The bytes of all texts of `column`, as they are in memory; as many as there can be if the file does not say it.
fn text_bytes(column: &ColumnChunkMetaData) -> u64 {
    if column.column_type() != Type::BYTE_ARRAY {
        return 0;
    }
    let known = column.unencoded_byte_array_data_bytes();
    known
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(u64::MAX)
}

fn greatest(column: &ColumnChunkMetaData) -> Option<usize> {
    let Some(Statistics::Int64(values)) = column.statistics() else {
        return None;
    };
    usize::try_from(*values.max_opt()?).ok()
}

/// Joins consecutive batches as long as they have few bytes together.
pub(super) fn joined(
    batches: impl Iterator<Item = Result<RecordBatch>>,
) -> impl Iterator<Item = Result<RecordBatch>> {
    let mut batches = batches.fuse();
    std::iter::from_fn(move || {
        let (mut some, mut bytes, mut rows) = (Vec::new(), 0, 0);
        while bytes < BATCH_BYTES as u64 && rows < ROW_GROUP_ROWS {
            match batches.next() {
                Some(Ok(batch)) => {
                    bytes += crate::memory_bytes(&batch);
                    rows += batch.num_rows();
                    some.push(batch);
                }
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        match some.as_slice() {
            [] => None,
            [only] => Some(Ok(only.clone())),
            [first, ..] => Some(concat_batches(first.schema_ref(), &some).map_err(Into::into)),
        }
    })
}
