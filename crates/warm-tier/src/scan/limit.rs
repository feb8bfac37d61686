//! The rows and bytes that a scan may still return. Pure.

use arrow::{
    array::{Array as _, AsArray as _, RecordBatch},
    datatypes::DataType,
};

use crate::scan_request::{Order, Scan};

/// Columns whose values count as bytes.
const COUNTED_COLUMNS: [&str; 2] = ["content", "metadata"];

/// What is left of the limits of a scan.
#[derive(Debug)]
pub(super) struct ScanLimit {
    rows: Option<u64>,
    bytes: Option<u64>,
    is_ended: bool,
}

impl ScanLimit {
    pub(super) fn new(scan: &Scan) -> Self {
        Self {
            rows: scan.limit,
            bytes: scan.max_bytes.filter(|_| scan.order != Order::None),
            is_ended: scan.limit == Some(0),
        }
    }

    /// Whether the scan ends here, by a limit or by its reader.
    pub(super) fn is_reached(&self) -> bool {
        self.is_ended
    }

    /// `scan` with what is left of its limits.
    pub(super) fn rest_of(&self, scan: &Scan) -> Scan {
        Scan {
            limit: self.rows,
            max_bytes: self.bytes,
            ..scan.clone()
        }
    }

    /// Passes on as much of `batch` as the limits allow; `false` when the scan ends with it.
    pub(super) fn pass(
        &mut self,
        batch: RecordBatch,
        on_batch: &mut impl FnMut(RecordBatch) -> bool,
    ) -> bool {
        let rows = self.allowed(&batch);
        let batch = if rows < batch.num_rows() {
            batch.slice(0, rows)
        } else {
            batch
        };
        let wants_more = on_batch(batch);
        self.is_ended |= !wants_more || self.rows == Some(0) || self.bytes == Some(0);
        !self.is_ended
    }

    /// Takes the next rows from the limits; returns how many.
    fn allowed(&mut self, batch: &RecordBatch) -> usize {
        let mut rows = batch.num_rows();
        if let Some(left) = self.rows {
            rows = rows.min(usize::try_from(left).unwrap_or(usize::MAX));
        }
        if let Some(left) = &mut self.bytes {
            for row in 0..rows {
                *left = left.saturating_sub(text_bytes(batch, row));
                if *left == 0 {
                    rows = row + 1;
                    break;
                }
            }
        }
        self.rows = self.rows.map(|left| left.saturating_sub(rows as u64));
        rows
    }
}

fn text_bytes(batch: &RecordBatch, row: usize) -> u64 {
    let columns = COUNTED_COLUMNS.iter();
    let columns = columns.filter_map(|name| batch.column_by_name(name));
    let texts =
        columns.filter(|column| *column.data_type() == DataType::Utf8 && column.is_valid(row));
    let lengths = texts.map(|column| column.as_string::<i32>().value(row).len() as u64);
    lengths.sum()
}
