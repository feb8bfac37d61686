//! The rows of one file: its object, checked, and the batches that it is decoded to.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::{Stream, TryStreamExt as _, stream};
use segment::parquet_io::{self, Selection};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    error::{Error, Result},
    file::ColdFile,
    object_memory::{ReadKind, Reserved},
    prune::ColdScan,
    rows,
    stage::verify,
    tier::ColdTier,
};

/// Batches that are decoded ahead of their reader.
const DECODED_BATCHES: usize = 1;

impl ColdTier {
    /// Returns every row of one file, with all columns.
    ///
    /// # Errors
    /// As [`ColdTier::read`]; [`Error::Gone`] when the file was vacuumed.
    pub async fn read_file(&self, file: &ColdFile) -> Result<Vec<RecordBatch>> {
        self.rows_of(file, ColdScan::default()).await
    }

    /// Returns `columns` of every row of one file.
    ///
    /// # Errors
    /// As [`ColdTier::read_file`].
    pub async fn read_file_columns(
        &self,
        file: &ColdFile,
        columns: &[&str],
    ) -> Result<Vec<RecordBatch>> {
        let scan = ColdScan {
            columns: Some(columns.iter().map(|name| (*name).to_owned()).collect()),
            ..ColdScan::default()
        };
        self.rows_of(file, scan).await
    }

    async fn rows_of(&self, file: &ColdFile, scan: ColdScan) -> Result<Vec<RecordBatch>> {
        let memory = self.object_memory();
        let memory = memory.reserve(ReadKind::Stream, file.bytes).await;
        let bytes = self.object(file, memory).await?;
        stream(file.clone(), bytes, Arc::new(scan))
            .try_collect()
            .await
    }

    /// Returns the bytes of `file` from the cache or the store, checked in both cases, in `memory`.
    pub(super) async fn object(&self, file: &ColdFile, memory: Reserved) -> Result<Bytes> {
        let sha256 = file.provenance.as_ref().map(|p| p.sha256.clone());
        let cache = self.cache().cloned();
        if let Some((cache, name)) = cache.clone().zip(sha256.clone()) {
            let cached = tokio::task::spawn_blocking(move || cache.get(&name)).await?;
            if let Some(cached) = cached {
                return Ok(memory.hold(cached));
            }
        }
        let log = self.log(file.table);
        let object = log.object_path(&file.path);
        let bytes = self.stall().get(self.store(), &object, Some(file.bytes));
        let bytes = bytes.await?;
        let (path, rows) = (file.path.clone(), file.rows);
        tokio::task::spawn_blocking(move || {
            let bytes = verify(path, bytes, sha256.as_deref(), rows)?;
            if let Some((cache, name)) = cache.zip(sha256) {
                cache.put(&name, &bytes);
            }
            Ok(memory.hold(bytes))
        })
        .await?
    }
}

/// Streams the rows of `file` that `scan` selects; ends with the first error.
pub(super) fn stream(
    file: ColdFile,
    bytes: Bytes,
    scan: Arc<ColdScan>,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    let (sender, receiver) = mpsc::channel(DECODED_BATCHES);
    let path = file.path.clone();
    let task = tokio::task::spawn_blocking(move || decode(&file, bytes, &scan, &sender));
    let decoding = Decoding {
        receiver,
        task: Some(task),
        path,
    };
    stream::unfold(decoding, async |mut decoding| {
        let batch = decoding.next().await?;
        Some((batch, decoding))
    })
}

/// A file that a thread decodes.
struct Decoding {
    receiver: mpsc::Receiver<Result<RecordBatch>>,
    task: Option<JoinHandle<()>>,
    path: String,
}

impl Decoding {
    async fn next(&mut self) -> Option<Result<RecordBatch>> {
        if let Some(batch) = self.receiver.recv().await {
            return Some(batch);
        }
        match self.task.take()?.await {
            Ok(()) => None,
            // The Parquet library panics on some damage, which a file without a checksum may have.
            Err(error) if error.is_panic() => Some(Err(Error::Damaged {
                path: std::mem::take(&mut self.path),
                reason: "it cannot be decoded".to_owned(),
            })),
            Err(_) => Some(Err(Error::Stopped)),
        }
    }
}

/// Sends the selected rows of `file` until its end, an error, or the end of the receiver.
fn decode(file: &ColdFile, bytes: Bytes, scan: &ColdScan, to: &mpsc::Sender<Result<RecordBatch>>) {
    let schema = scan.read_schema(file.table);
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let selection = Selection {
        columns: Some(&names),
        conversation: scan
            .conversation
            .as_ref()
            .map(event::ConversationId::as_str),
    };
    let failed = |source| Error::Rows {
        path: file.path.clone(),
        source,
    };
    let except = scan.except_in(file);
    let select = |batch: segment::Result<RecordBatch>| {
        let whole = rows::with_tenant(&batch?, file.tenant.as_deref(), &schema)?;
        rows::filtered(&whole, scan, except)
    };
    let batches = match parquet_io::batches(bytes, selection) {
        Ok(batches) => batches,
        Err(error) => {
            // The reader may have gone; then nothing is left to do.
            let _ = to.blocking_send(Err(failed(error)));
            return;
        }
    };
    for batch in batches {
        let batch = match select(batch).map_err(failed) {
            Ok(batch) if batch.num_rows() == 0 => continue,
            Ok(batch) if scan.order.is_none() => projected(batch, scan),
            batch => batch,
        };
        let is_last = batch.is_err();
        if to.blocking_send(batch).is_err() || is_last {
            return;
        }
    }
}

/// Returns `batch` with only the columns that `scan` names.
pub(super) fn projected(batch: RecordBatch, scan: &ColdScan) -> Result<RecordBatch> {
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
