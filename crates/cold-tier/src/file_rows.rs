//! Reads the rows of one file; its object is checked before it is decoded.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use event::RangeSet;
use segment::parquet_io::{self, Selection};

use crate::{
    error::{Error, Result},
    file::ColdFile,
    prune::ColdScan,
    read::projected,
    rows,
    stage::verify,
    tier::ColdTier,
};

impl ColdTier {
    /// Returns every row of one file, with all columns.
    ///
    /// # Errors
    /// As [`ColdTier::read`]; [`Error::Gone`] when the file was vacuumed.
    pub async fn read_file(&self, file: &ColdFile) -> Result<Vec<RecordBatch>> {
        self.rows_of(file.clone(), Arc::new(ColdScan::default()))
            .await
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
        self.rows_of(file.clone(), Arc::new(scan)).await
    }

    pub(crate) async fn rows_of(
        &self,
        file: ColdFile,
        scan: Arc<ColdScan>,
    ) -> Result<Vec<RecordBatch>> {
        let bytes = self.object(&file).await?;
        let path = file.path.clone();
        let decoded = tokio::task::spawn_blocking(move || decode(&file, bytes, &scan)).await;
        match decoded {
            Ok(batches) => batches,
            // The Parquet library panics on some damage, which a file without a checksum may have.
            Err(error) if error.is_panic() => Err(Error::Damaged {
                path,
                reason: "it cannot be decoded".to_owned(),
            }),
            Err(_) => Err(Error::Stopped),
        }
    }

    /// Returns the bytes of `file` from the cache or the store, checked in both cases.
    async fn object(&self, file: &ColdFile) -> Result<Bytes> {
        let sha256 = file.provenance.as_ref().map(|p| p.sha256.clone());
        let cache = self.cache().cloned();
        if let Some((cache, name)) = cache.clone().zip(sha256.clone()) {
            let cached = tokio::task::spawn_blocking(move || cache.get(&name)).await?;
            if let Some(cached) = cached {
                return Ok(cached);
            }
        }
        let log = self.log(file.table);
        let object = log.object_path(&file.path);
        let bytes = self.stall().get(self.store(), &object).await?;
        let (path, rows) = (file.path.clone(), file.rows);
        tokio::task::spawn_blocking(move || {
            let bytes = verify(path, bytes, sha256.as_deref(), rows)?;
            if let Some((cache, name)) = cache.zip(sha256) {
                cache.put(&name, &bytes);
            }
            Ok(bytes)
        })
        .await?
    }
}

fn decode(file: &ColdFile, bytes: Bytes, scan: &ColdScan) -> Result<Vec<RecordBatch>> {
    let schema = scan.read_schema(file.table);
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let selection = Selection {
        columns: Some(&names),
        conversation: scan
            .conversation
            .as_ref()
            .map(event::ConversationId::as_str),
    };
    let except: Option<&RangeSet> = scan.except_in(file);
    let batches = parquet_io::read(bytes, selection).and_then(|batches| {
        let batches = batches.iter().map(|batch| {
            let whole = rows::with_tenant(batch, file.tenant.as_deref(), &schema)?;
            rows::filtered(&whole, scan, except)
        });
        batches.collect::<segment::Result<Vec<_>>>()
    });
    let batches = batches.map_err(|source| Error::Rows {
        path: file.path.clone(),
        source,
    })?;
    if scan.order.is_some() {
        return Ok(batches);
    }
    batches
        .into_iter()
        .map(|batch| projected(batch, scan))
        .collect()
}
