//! Reads rows from the files of a snapshot; every object is checked before it is decoded.

mod file_rows;
mod first_rows;

use std::{collections::VecDeque, sync::Arc};

use arrow::array::RecordBatch;
use event::RangeSet;
use futures::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, stream};

use self::first_rows::FirstRows;
use crate::{
    error::{Error, Result},
    file::ColdFile,
    object_memory::ReadKind,
    prune::{ColdScan, Order},
    snapshot::TableSnapshot,
    tier::ColdTier,
};

/// Objects that one read asks the store for at once. Each is in memory as a whole, at most 128 MB as the archiver
/// writes them; how many are there at once is up to [`ObjectMemory`](crate::object_memory::ObjectMemory).
const MAX_CONCURRENT_READS: usize = 4;

/// The rows of an ordered scan of one partition, as far as its files can be read.
#[derive(Debug, Default)]
pub struct ColdRows {
    /// One batch, sorted by position.
    pub rows: Option<RecordBatch>,
    /// Whether `max_bytes` of the scan ended the read: there may be more rows behind the last one.
    pub is_cut: bool,
    /// The ranges of the files that cannot be read, as far as they were to be.
    pub missing: RangeSet,
    /// Why, one error per file.
    pub errors: Vec<Error>,
}

/// An item of a stream of rows.
#[derive(Debug)]
pub enum ColdItem {
    Batch(RecordBatch),
    /// A file that cannot be read, or not to its end.
    Unread {
        /// The ranges of the scan that the file was to answer.
        missing: RangeSet,
        error: Error,
    },
}

impl ColdTier {
    /// Streams the rows of `scan`, file by file and batch by batch, from those files that can be read. The
    /// rows that wait for the reader are few. `order`, `limit` and `max_bytes` are ignored.
    ///
    /// An item is [`Error::Config`] when the scan is wrong, [`Error::Stopped`] when the process is stopping.
    pub fn stream_readable(
        &self,
        snapshot: &TableSnapshot,
        scan: ColdScan,
    ) -> impl Stream<Item = Result<ColdItem>> + Send + use<> {
        let scan = Arc::new(ColdScan {
            order: None,
            ..scan
        });
        let batches = self.read_each(snapshot, Arc::clone(&scan));
        batches.map(move |(file, read)| match read {
            Ok(batch) => Ok(ColdItem::Batch(batch)),
            Err(error @ (Error::Config(_) | Error::Stopped)) => Err(error),
            Err(error) => Ok(ColdItem::Unread {
                missing: scan.wanted_ranges(&file),
                error,
            }),
        })
    }

    /// Returns the rows of `scan`: with an `order`, one batch sorted by position, read from no more
    /// files than `limit` and `max_bytes` need; else batches file by file, without regard to these.
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
        if let Some(order) = scan.order {
            let failed = |_: &ColdFile, error| Err(error);
            let read = self.read_ordered(snapshot, scan, order, failed).await?;
            return Ok(vec![read.rows]);
        }
        let batches = self.read_each(snapshot, Arc::new(scan.clone()));
        batches.map(|(_, read)| read).try_collect().await
    }

    /// Returns the rows of `scan` in its order, ascending by default, from those files that can be read,
    /// and no more of them than `limit` and `max_bytes` need.
    ///
    /// # Errors
    /// [`Error::Config`] when the scan is wrong, [`Error::Stopped`] when the process is stopping.
    pub async fn read_readable(
        &self,
        snapshot: &TableSnapshot,
        scan: &ColdScan,
    ) -> Result<ColdRows> {
        let mut read = ColdRows::default();
        let failed = |file: &ColdFile, error| match error {
            Error::Config(_) | Error::Stopped => Err(error),
            error => {
                read.missing.extend(scan.wanted_ranges(file));
                read.errors.push(error);
                Ok(())
            }
        };
        let order = scan.order.unwrap_or(Order::Asc);
        let first = self.read_ordered(snapshot, scan, order, failed).await?;
        (read.rows, read.is_cut) = (Some(first.rows), first.is_cut);
        Ok(read)
    }

    /// Streams the rows of each selected file, in the order of the snapshot. A file ends with its first
    /// error.
    fn read_each(
        &self,
        snapshot: &TableSnapshot,
        scan: Arc<ColdScan>,
    ) -> impl Stream<Item = (ColdFile, Result<RecordBatch>)> + Send + use<> {
        let tier = self.clone();
        stream::iter(selected_files(snapshot, &scan))
            // In the order of their rows, so that the first never waits for those behind it.
            .then(move |file| {
                let tier = tier.clone();
                async move {
                    let memory = tier.object_memory();
                    let memory = memory.reserve(ReadKind::Stream, file.bytes).await;
                    (tier, file, memory)
                }
                .boxed()
            })
            .map(async |(tier, file, memory)| {
                let object = tier.object(&file, memory).await;
                (file, object)
            })
            .buffered(MAX_CONCURRENT_READS)
            .flat_map(move |(file, object)| {
                let batches = match object {
                    Ok(bytes) => file_rows::stream(file.clone(), bytes, Arc::clone(&scan)).boxed(),
                    Err(error) => stream::once(async { Err(error) }).boxed(),
                };
                batches.map(move |batch| (file.clone(), batch))
            })
    }

    /// Reads the first rows as [`ColdTier::read`] says. `failed` decides whether the read goes on without
    /// a file.
    async fn read_ordered(
        &self,
        snapshot: &TableSnapshot,
        scan: &ColdScan,
        order: Order,
        mut failed: impl FnMut(&ColdFile, Error) -> Result<()>,
    ) -> Result<FirstRows> {
        let mut files = selected_files(snapshot, scan);
        files.sort_by_key(|file| first_seq(file, order));
        let scan = Arc::new(ColdScan {
            order: Some(order),
            ..scan.clone()
        });
        let mut files: VecDeque<_> = files.into();
        let mut first = FirstRows::new(scan.read_schema(snapshot.table));
        while !files.is_empty() && !limit_is_met(&first, scan.limit, files.front(), order) {
            let next = files.drain(..files.len().min(MAX_CONCURRENT_READS));
            let next: Vec<ColdFile> = next.collect();
            let reads = next
                .iter()
                .map(|file| self.first_rows_of(file.clone(), Arc::clone(&scan)));
            let mut read = Vec::new();
            for (file, rows) in next.iter().zip(futures::future::join_all(reads).await) {
                match rows {
                    Ok(rows) => read.extend(rows),
                    Err(error) => failed(file, error)?,
                }
            }
            let merged = first.merge(&read, &scan, order);
            merged.map_err(|source| Error::Rows {
                path: snapshot.table.name().to_owned(),
                source,
            })?;
        }
        first.rows = file_rows::projected(first.rows, &scan)?;
        Ok(first)
    }

    /// Returns the rows of one file that can be among the first of `scan`.
    async fn first_rows_of(&self, file: ColdFile, scan: Arc<ColdScan>) -> Result<Vec<RecordBatch>> {
        let memory = self.object_memory();
        let memory = memory.reserve(ReadKind::Ordered, file.bytes).await;
        let bytes = self.object(&file, memory).await?;
        let batches = file_rows::stream(file.clone(), bytes, Arc::clone(&scan));
        first_rows::of_file(&file, batches, &scan).await
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

/// Returns whether `first` has all the rows that the limits allow, and neither `next` nor a later file has an earlier one.
fn limit_is_met(
    first: &FirstRows,
    limit: Option<usize>,
    next: Option<&ColdFile>,
    order: Order,
) -> bool {
    use arrow::{array::AsArray as _, datatypes::Int64Type};
    let rows = &first.rows;
    let limit = if first.is_cut {
        Some(rows.num_rows())
    } else {
        limit
    };
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
