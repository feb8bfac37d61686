//! The table function by which DuckDB reads a relation.

use std::{
    error::Error,
    sync::{Mutex, MutexGuard},
};

use arrow::array::RecordBatch;
use duckdb::{
    core::{DataChunkHandle, LogicalTypeHandle, LogicalTypeId},
    vtab::{
        BindInfo, InitInfo, TableFunctionInfo, VTab, record_batch_to_duckdb_data_chunk,
        to_duckdb_logical_type_for_field,
    },
};

use super::{Rows, lock};

/// The rows of a chunk of DuckDB.
const CHUNK_ROWS: usize = 2048;
/// Threads that read one relation at once: DuckDB has fewer.
const MAX_THREADS: u64 = 64;

/// The table function.
#[derive(Debug)]
pub(in crate::sql) struct RowsFunction;

/// One scan, by all threads.
#[derive(Debug)]
pub(in crate::sql) struct RowScan {
    /// Which columns of the rows the chunks have. One that is not there stands for a column that nobody reads.
    columns: Vec<usize>,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// The batches that were begun.
    begun: usize,
    /// Batches that were read, and how many of their rows are in chunks.
    read: Vec<(RecordBatch, usize)>,
}

impl RowScan {
    /// The rows of the next chunk; `None` when the threads have all.
    fn next(&self, rows: &Rows) -> Result<Option<RecordBatch>, Box<dyn Error>> {
        loop {
            let batch = {
                let mut progress = self.lock();
                if let Some(chunk) = progress.chunk() {
                    return Ok(Some(chunk));
                }
                let Some(batch) = rows.batches.get(progress.begun) else {
                    return Ok(None);
                };
                progress.begun += 1;
                batch
            };
            let batch = batch.read(&self.columns)?;
            if batch.num_rows() > 0 {
                self.lock().read.push((batch, 0));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress
            .lock()
            .expect("nothing panics while it holds this")
    }
}

impl Progress {
    fn chunk(&mut self) -> Option<RecordBatch> {
        let (batch, done) = self.read.last_mut()?;
        let rows = CHUNK_ROWS.min(batch.num_rows() - *done);
        let chunk = batch.slice(*done, rows);
        *done += rows;
        if *done == batch.num_rows() {
            self.read.pop();
        }
        Some(chunk)
    }
}

impl VTab for RowsFunction {
    type BindData = Rows;
    type InitData = RowScan;

    fn bind(bind: &BindInfo) -> Result<Rows, Box<dyn Error>> {
        let number = bind.get_parameter(0).to_int64();
        let rows = lock().relations.get(&number).cloned();
        let rows = rows.ok_or("this relation is gone")?;
        for field in rows.schema.fields() {
            bind.add_result_column(field.name(), to_duckdb_logical_type_for_field(field)?);
        }
        bind.set_cardinality(rows.count, true);
        Ok(rows)
    }

    fn init(init: &InitInfo) -> Result<RowScan, Box<dyn Error>> {
        init.set_max_threads(MAX_THREADS);
        let columns = init.get_column_indices().into_iter();
        let columns = columns.map(|column| usize::try_from(column).unwrap_or(usize::MAX));
        Ok(RowScan {
            columns: columns.collect(),
            progress: Mutex::default(),
        })
    }

    fn func(
        function: &TableFunctionInfo<Self>,
        output: &mut DataChunkHandle,
    ) -> Result<(), Box<dyn Error>> {
        let (rows, scan) = (function.get_bind_data(), function.get_init_data());
        match scan.next(rows)? {
            Some(chunk) => record_batch_to_duckdb_data_chunk(&chunk, output),
            None => {
                output.set_len(0);
                Ok(())
            }
        }
    }

    fn supports_pushdown() -> bool {
        true
    }

    fn parameters() -> Option<Vec<LogicalTypeHandle>> {
        Some(vec![LogicalTypeHandle::from(LogicalTypeId::Bigint)])
    }
}
