//! Reads rows from the files of a snapshot; every object is checked before it is decoded.

use std::{collections::VecDeque, sync::Arc};

use arrow::{array::RecordBatch, compute::concat_batches, datatypes::SchemaRef};
use event::RangeSet;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};

use crate::{
    error::{Error, Result},
    file::ColdFile,
    prune::{ColdScan, Order},
    rows,
    snapshot::TableSnapshot,
    tier::ColdTier,
};

/// Bounds memory: each object is in memory as a whole, at most 128 MB as the archiver writes them.
const MAX_CONCURRENT_READS: usize = 4;

/// The rows of a scan of one partition, as far as its files can be read.
#[derive(Debug, Default)]
pub struct ColdRows {
    /// As [`ColdTier::read`] returns them.
    pub batches: Vec<RecordBatch>,
    /// The ranges of the files that cannot be read, as far as they were to be.
    pub missing: RangeSet,
    /// Why, one error per file.
    pub errors: Vec<Error>,
}

impl ColdTier {
    /// Streams the rows that satisfy the filters of `scan`, file by file. `order` and `limit` are
    /// ignored, but with an `order` the batches also have the columns to order by.
    ///
    /// An item is an error as in [`ColdTier::read`].
    pub fn scan(
        &self,
        snapshot: &TableSnapshot,
        scan: ColdScan,
    ) -> impl Stream<Item = Result<RecordBatch>> + Send + use<> {
        self.read_each(snapshot, scan)
            .map(|(_, read)| read)
            .map_ok(|batches| stream::iter(batches.into_iter().map(Ok)))
            .try_flatten()
            .try_filter(|batch| futures::future::ready(batch.num_rows() > 0))
    }

    /// Returns the rows of `scan`: with an `order`, one batch sorted by position, read from no more
    /// files than `limit` needs; else batches file by file, without regard to `limit`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Gone`] are transient: retry, after [`Error::Gone`] with
    /// a new snapshot. [`Error::Damaged`] and [`Error::Rows`] name an object that cannot be
    /// trusted.
    pub async fn read(
        &self,
        snapshot: &TableSnapshot,
        scan: &ColdScan,
    ) -> Result<Vec<RecordBatch>> {
        self.read_files(snapshot, scan, |_, error| Err(error)).await
    }

    /// Returns what [`ColdTier::read`] does, but from those files that can be read.
    ///
    /// # Errors
    /// [`Error::Config`] when the scan is wrong, [`Error::Stopped`] when the process is stopping.
    pub async fn read_readable(
        &self,
        snapshot: &TableSnapshot,
        scan: &ColdScan,
    ) -> Result<ColdRows> {
        let mut rows = ColdRows::default();
        let failed = |file: &ColdFile, error| match error {
            Error::Config(_) | Error::Stopped => Err(error),
            error => {
                rows.missing.extend(scan.wanted_ranges(file));
                rows.errors.push(error);
                Ok(())
            }
        };
        let batches = self.read_files(snapshot, scan, failed).await?;
        rows.batches = batches;
        Ok(rows)
    }

    /// Streams the rows of each selected file, in the order of the snapshot.
    fn read_each(
        &self,
        snapshot: &TableSnapshot,
        scan: ColdScan,
    ) -> impl Stream<Item = (ColdFile, Result<Vec<RecordBatch>>)> + Send + use<> {
        let files = selected_files(snapshot, &scan);
        let (tier, scan) = (self.clone(), Arc::new(scan));
        stream::iter(files)
            .map(move |file| {
                let (tier, scan) = (tier.clone(), Arc::clone(&scan));
                async move {
                    let read = tier.rows_of(file.clone(), scan).await;
                    (file, read)
                }
            })
            .buffered(MAX_CONCURRENT_READS)
    }

    /// Reads as [`ColdTier::read`] says. `failed` decides whether the read goes on without a file.
    async fn read_files(
        &self,
        snapshot: &TableSnapshot,
        scan: &ColdScan,
        mut failed: impl FnMut(&ColdFile, Error) -> Result<()>,
    ) -> Result<Vec<RecordBatch>> {
        let Some(order) = scan.order else {
            let mut batches = Vec::new();
            let mut reads = std::pin::pin!(self.read_each(snapshot, scan.clone()));
            while let Some((file, read)) = reads.next().await {
                match read {
                    Ok(rows) => batches.extend(rows.into_iter().filter(|own| own.num_rows() > 0)),
                    Err(error) => failed(&file, error)?,
                }
            }
            return Ok(batches);
        };
        let mut files = selected_files(snapshot, scan);
        files.sort_by_key(|file| first_seq(file, order));
        let shared = Arc::new(scan.clone());
        let schema = scan.read_schema(snapshot.table);
        let mut files: VecDeque<_> = files.into();
        let mut rows = RecordBatch::new_empty(SchemaRef::clone(&schema));
        while !files.is_empty() && !limit_is_met(&rows, scan.limit, files.front(), order) {
            let next = files.drain(..files.len().min(MAX_CONCURRENT_READS));
            let next: Vec<ColdFile> = next.collect();
            let reads = next
                .iter()
                .map(|file| self.rows_of(file.clone(), Arc::clone(&shared)));
            let mut read = Vec::new();
            for (file, rows) in next.iter().zip(futures::future::join_all(reads).await) {
                match rows {
                    Ok(rows) => read.extend(rows),
                    Err(error) => failed(file, error)?,
                }
            }
            let batches = std::iter::once(&rows).chain(&read);
            let joined = concat_batches(&schema, batches).map_err(segment::Error::from);
            let sorted = joined.and_then(|joined| rows::by_position(&joined, order));
            rows = sorted.map_err(|source| Error::Rows {
                path: snapshot.table.name().to_owned(),
                source,
            })?;
            rows = rows.slice(0, rows.num_rows().min(scan.limit.unwrap_or(usize::MAX)));
        }
        Ok(vec![projected(rows, scan)?])
    }
}

fn selected_files(snapshot: &TableSnapshot, scan: &ColdScan) -> Vec<ColdFile> {
    let files = snapshot.files().filter(|file| scan.may_match(file));
    files.cloned().collect()
}

/// The key by which files are read in `order`; files without statistics are read first.
fn first_seq(file: &ColdFile, order: Order) -> u64 {
    match (file.extent.seq, order) {
        (Some((min, _)), Order::Asc) => min,
        (Some((_, max)), Order::Desc) => u64::MAX - max,
        (None, _) => 0,
    }
}

/// Returns whether `rows` has `limit` rows and neither `next` nor a later file has an earlier one.
fn limit_is_met(
    rows: &RecordBatch,
    limit: Option<usize>,
    next: Option<&ColdFile>,
    order: Order,
) -> bool {
    use arrow::{array::AsArray as _, datatypes::Int64Type};
    let Some(limit) = limit.filter(|limit| rows.num_rows() >= *limit) else {
        return false;
    };
    let seqs = rows
        .column_by_name("seq")
        .map(|c| c.as_primitive::<Int64Type>());
    let last = seqs.and_then(|seqs| Some(seqs.value(limit.checked_sub(1)?)));
    let last = last.and_then(|last| u64::try_from(last).ok());
    let (Some(last), Some((min, max))) = (last, next.and_then(|next| next.extent.seq)) else {
        return limit == 0;
    };
    match order {
        Order::Asc => min > last,
        Order::Desc => max < last,
    }
}

/// Returns `batch` with only the columns that `scan` names.
pub(crate) fn projected(batch: RecordBatch, scan: &ColdScan) -> Result<RecordBatch> {
    let Some(columns) = &scan.columns else {
        return Ok(batch);
    };
    let schema = batch.schema();
    let indices = columns.iter().map(|name| schema.index_of(name));
    let projected = indices
        .collect::<std::result::Result<Vec<_>, _>>()
        .and_then(|indices| batch.project(&indices));
    projected.map_err(|error| Error::Config(error.to_string()))
}
