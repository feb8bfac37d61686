//! Rows to a verified object that no log entry names yet: invisible until it is committed.

use std::fmt::Write as _;

use arrow::array::RecordBatch;
use bytes::Bytes;
use deltalake_core::kernel::Add;
use event::{PartitionId, SeqRange, TenantId, Timestamp};
use object_store::{ObjectStore, ObjectStoreExt as _};
use retention::Class;
use segment::parquet_io;
use sha2::{Digest as _, Sha256};

use crate::{
    error::{Error, Result},
    file::{ColdFile, Extent, Provenance},
    log::Log,
    rows,
    stats::stats,
    table::Table,
};

/// Hex digits of the sha256 in an object's name: 128 bits.
const NAME_DIGITS: usize = 32;

/// The rows of one file and where they come from.
#[derive(Clone, Debug)]
pub struct PendingFile {
    pub table: Table,
    /// Of every row; `None` in rollups.
    pub tenant: Option<TenantId>,
    /// Of every row: the UTC day of the event time; `None` in rollups.
    pub dt: Option<String>,
    /// In the table's schema, in any order: the file's order is made here.
    pub rows: RecordBatch,
    pub class: Option<Class>,
    pub ranges: Vec<(PartitionId, SeqRange)>,
    /// The hash of the rules by which the rows were thinned.
    pub sampled: Option<String>,
    /// When the log took the newest row, dropped ones included.
    pub received_max: Timestamp,
}

/// An object that was put, read back and found to be what was put.
#[derive(Clone, Debug, PartialEq)]
pub struct StagedFile {
    pub(crate) file: ColdFile,
    stats: String,
}

impl StagedFile {
    #[must_use]
    pub fn file(&self) -> &ColdFile {
        &self.file
    }

    pub(crate) fn add(&self, data_change: bool, now: Timestamp) -> Add {
        Add {
            path: self.file.path.clone(),
            partition_values: self.file.partition_values(),
            size: i64::try_from(self.file.bytes).expect("an object is smaller than 2^63 bytes"),
            modification_time: now.as_micros() / 1000,
            data_change,
            stats: Some(self.stats.clone()),
            tags: self.file.provenance.as_ref().map(Provenance::tags),
            ..Add::default()
        }
    }
}

/// Puts the file of `pending`. Equal drafts make the same object, so that a put again is harmless.
pub(crate) async fn stage(
    log: &Log,
    store: &dyn ObjectStore,
    pending: PendingFile,
) -> Result<StagedFile> {
    let (staged, bytes) = tokio::task::spawn_blocking(move || encode(pending)).await??;
    let object = log.object(&staged.file.path);
    store.put(&object, bytes.into()).await?;
    let read = store.get(&object).await?.bytes().await?;
    let path = staged.file.path.clone();
    let rows = staged.file.rows;
    let sha256 = staged.file.provenance.as_ref().map(|p| p.sha256.clone());
    tokio::task::spawn_blocking(move || verify(path, read, sha256.as_deref(), rows)).await??;
    Ok(staged)
}

fn encode(pending: PendingFile) -> Result<(StagedFile, Bytes)> {
    let in_rows = |source| Error::Rows {
        path: pending.table.name().to_owned(),
        source,
    };
    let sorted = rows::in_file_order(pending.table, &pending.rows).map_err(in_rows)?;
    let stats = stats(&sorted);
    let bytes = parquet_io::write(&[sorted]).map_err(in_rows)?;
    let sha256 = sha256(&bytes);
    let name = &sha256[..NAME_DIGITS];
    let path = match (&pending.tenant, &pending.dt) {
        (Some(tenant), Some(dt)) => format!("tenant={tenant}/dt={dt}/{name}.parquet"),
        _ => format!("{name}.parquet"),
    };
    let file = ColdFile {
        table: pending.table,
        path,
        tenant: pending.tenant.map(|tenant| tenant.to_string()),
        dt: pending.dt,
        rows: pending.rows.num_rows() as u64,
        bytes: bytes.len() as u64,
        provenance: Some(Provenance {
            class: pending.class,
            ranges: pending.ranges,
            sha256,
            sampled: pending.sampled,
            received_max: pending.received_max,
        }),
        extent: Extent::default(),
    };
    Ok((StagedFile { file, stats }, bytes))
}

/// Whether `bytes` are what `sha256` names and have as many rows as they should.
pub(crate) fn verify(
    path: String,
    bytes: Bytes,
    expected: Option<&str>,
    rows: u64,
) -> Result<Bytes> {
    let Some(expected) = expected else {
        return Ok(bytes);
    };
    let damaged = |reason: String| Error::Damaged {
        path: path.clone(),
        reason,
    };
    let found = sha256(&bytes);
    if found != expected {
        return Err(damaged(format!("its sha256 is {found}, not {expected}")));
    }
    let found = parquet_io::rows(bytes.clone()).map_err(|error| damaged(error.to_string()))?;
    if found as u64 != rows {
        return Err(damaged(format!("it has {found} rows, not {rows}")));
    }
    Ok(bytes)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}
