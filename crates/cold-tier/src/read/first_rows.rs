//! The first rows of an ordered scan, as many as its limits allow.

use std::collections::VecDeque;

use arrow::{
    array::{AsArray as _, RecordBatch},
    compute::concat_batches,
    datatypes::SchemaRef,
};
use futures::{Stream, TryStreamExt as _};

use crate::{
    error::Result,
    file::ColdFile,
    prune::{ColdScan, Order},
    rows,
};

/// Columns whose values may be long.
const LONG_COLUMNS: [&str; 2] = ["content", "metadata"];

/// The first rows of the files that were read so far.
#[derive(Debug)]
pub(super) struct FirstRows {
    /// Sorted by position.
    pub(super) rows: RecordBatch,
    /// Whether the rows end because of their bytes.
    pub(super) is_cut: bool,
}

impl FirstRows {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self {
            rows: RecordBatch::new_empty(schema),
            is_cut: false,
        }
    }

    /// Adds `more` and keeps the first rows up to the limits of `scan`.
    pub(super) fn merge(
        &mut self,
        more: &[RecordBatch],
        scan: &ColdScan,
        order: Order,
    ) -> segment::Result<()> {
        let schema = self.rows.schema();
        let joined = concat_batches(&schema, std::iter::once(&self.rows).chain(more))?;
        let sorted = rows::by_position(&joined, order)?;
        let count = sorted.num_rows().min(scan.limit.unwrap_or(usize::MAX));
        let max_bytes = scan.max_bytes.unwrap_or(usize::MAX);
        let cut = (0..count).try_fold(0_usize, |bytes, row| {
            let bytes = bytes.saturating_add(row_bytes(&sorted, row));
            if bytes < max_bytes {
                Ok(bytes)
            } else {
                Err(row + 1)
            }
        });
        self.is_cut = cut.is_err();
        self.rows = sorted.slice(0, cut.err().unwrap_or(count));
        Ok(())
    }
}

/// Returns those batches of a file that can have the first rows of `scan`. The rows of one conversation are
/// in ascending order in a file of ours.
pub(super) async fn of_file(
    file: &ColdFile,
    batches: impl Stream<Item = Result<RecordBatch>>,
    scan: &ColdScan,
) -> Result<Vec<RecordBatch>> {
    let mut batches = std::pin::pin!(batches);
    let is_sorted = file.provenance.is_some() && scan.conversation.is_some();
    let (limit, max_bytes) = match is_sorted {
        true => (scan.limit, scan.max_bytes),
        false => (None, None),
    };
    let (limit, max_bytes) = (limit.unwrap_or(usize::MAX), max_bytes.unwrap_or(usize::MAX));
    let mut kept = VecDeque::new();
    let (mut rows, mut bytes) = (0_usize, 0_usize);
    while let Some(batch) = batches.try_next().await? {
        let own = (0..batch.num_rows())
            .map(|row| row_bytes(&batch, row))
            .sum();
        rows += batch.num_rows();
        bytes += own;
        kept.push_back((batch, own));
        if scan.order != Some(Order::Desc) {
            if rows >= limit || bytes >= max_bytes {
                break;
            }
            continue;
        }
        // The last rows of the file are the first of the answer.
        while let Some((oldest, own)) = kept.front()
            && (rows - oldest.num_rows() >= limit || bytes - own >= max_bytes)
        {
            rows -= oldest.num_rows();
            bytes -= own;
            kept.pop_front();
        }
    }
    Ok(kept.into_iter().map(|(batch, _)| batch).collect())
}

/// The bytes of the long values of a row.
fn row_bytes(rows: &RecordBatch, row: usize) -> usize {
    let columns = LONG_COLUMNS
        .iter()
        .filter_map(|name| rows.column_by_name(name));
    let texts = columns.filter_map(|column| column.as_string_opt::<i32>());
    texts
        .map(|texts| usize::try_from(texts.value_length(row)).unwrap_or(0))
        .sum()
}
