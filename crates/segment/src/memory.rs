//! The memory that rows take.

use arrow::array::{Array as _, RecordBatch};

/// Returns the bytes of the values of `batch`, whatever the buffers have beside them.
#[must_use]
pub fn memory_bytes(batch: &RecordBatch) -> u64 {
    let columns = batch.columns().iter();
    // A type whose size is not known cannot be in our schemas.
    let sizes = columns.map(|column| column.to_data().get_slice_memory_size().unwrap_or(0) as u64);
    sizes.sum()
}
