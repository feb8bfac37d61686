//! Stages a file: writes rows to an object, reads it back and verifies it. No log entry names the
//! object yet, so it is invisible until it is committed.

use arrow::array::RecordBatch;
use bytes::Bytes;
use deltalake_core::kernel::Add;
use event::{PartitionId, SeqRange, TenantId, Timestamp};
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, path::Path};
use retention::Class;
use segment::parquet_io;

use crate::{
    day::Day,
    error::{Error, Result},
    file::{ColdFile, Extent, Provenance},
    hash::sha256,
    judgement::Judgement,
    log::DeltaLog,
    origin::Origin,
    random::random,
    replay::TableState,
    rows,
    stats::{stats, stats_of_batches},
    table::Table,
};

/// Hex digits of the SHA-256 in an object's name: 128 bits make a collision impossible in practice.
const NAME_DIGITS: usize = 32;
/// Names that are tried for one object. No reason but to bound it: no two are ever the same.
const MAX_PUT_ATTEMPTS: u32 = 5;

/// The rows and the provenance of a file that is to be staged.
#[derive(Clone, Debug)]
pub struct PendingFile {
    /// The table that the file is for.
    pub table: Table,
    /// The tenant of every row; `None` in rollups.
    pub tenant: Option<TenantId>,
    /// The day of every row; `None` in rollups.
    pub dt: Option<Day>,
    /// Rows with the table's schema, in any order; staging sorts them.
    pub rows: RecordBatch,
    /// The retention class of every row; `None` in rollups.
    pub class: Option<Class>,
    /// The log ranges that the rows come from, ascending within each partition.
    pub ranges: Vec<(PartitionId, SeqRange)>,
    /// The hash of the rules by which the rows were sampled; `None` at full fidelity.
    pub sampled: Option<String>,
    /// The latest `received_at` of the rows, dropped ones included.
    pub received_max: Timestamp,
}

/// A file whose object was put, read back and verified, and that no commit names yet.
#[derive(Clone, Debug, PartialEq)]
pub struct StagedFile {
    pub(crate) file: ColdFile,
    stats: String,
}

impl StagedFile {
    /// Returns the file as it will be once it is committed.
    #[must_use]
    pub fn file(&self) -> &ColdFile {
        &self.file
    }

    /// Returns the entry of the live `file`, whose rows are `rows`: to be committed in its own place with
    /// other tags.
    ///
    /// # Errors
    /// [`Error::Rows`] when the batches have different columns.
    pub fn live(file: &ColdFile, rows: &[RecordBatch]) -> Result<Self> {
        let stats = stats_of_batches(file.table, rows);
        let stats = stats.map_err(|source| Error::Rows {
            path: file.path.clone(),
            source,
        })?;
        let file = file.clone();
        Ok(Self { file, stats })
    }

    /// Returns the file with `judgement` in its tags.
    #[must_use]
    pub fn with_judgement(mut self, judgement: Judgement) -> Self {
        if let Some(provenance) = &mut self.file.provenance {
            provenance.judged = Some(judgement);
        }
        self
    }

    /// Returns the file with `origin` in its tags: it is made of other files, whose rows it may not have all.
    #[must_use]
    pub fn with_origin(mut self, origin: Option<Origin>) -> Self {
        if let Some(provenance) = &mut self.file.provenance {
            provenance.origin = origin;
        }
        self
    }

    /// Returns the `add` action for this file.
    pub(crate) fn add(&self, data_change: bool, now: Timestamp) -> Add {
        Add {
            path: self.file.path.clone(),
            partition_values: self.file.partition_values(),
            size: i64::try_from(self.file.bytes).expect("an object is smaller than 2^63 bytes"),
            modification_time: now.as_micros() / 1000,
            data_change,
            stats: Some(self.stats.clone()),
            tags: self.file.tags(),
            ..Add::default()
        }
    }
}

/// Puts the object of `pending`, reads it back and verifies it.
pub(crate) async fn stage(
    log: &DeltaLog,
    store: &dyn ObjectStore,
    pending: PendingFile,
) -> Result<StagedFile> {
    let (mut staged, bytes) = tokio::task::spawn_blocking(move || encode(pending)).await??;
    let object = put(log, store, &mut staged.file, &bytes).await?;
    let read = store.get(&object).await?.bytes().await?;
    let path = staged.file.path.clone();
    let rows = staged.file.rows;
    let sha256 = staged.file.provenance.as_ref().map(|p| p.sha256.clone());
    tokio::task::spawn_blocking(move || verify(path, read, sha256.as_deref(), rows)).await??;
    Ok(staged)
}

/// Puts the object of `file` in the place of the live one with the same bytes, which may be damaged; without
/// one under a name that no object ever had. A vacuum that has decided to delete a name may do so at any time
/// later, also when another has done it meanwhile, so a name is used once. All files without rows have the same
/// bytes, and each has a name of its own.
async fn put(
    log: &DeltaLog,
    store: &dyn ObjectStore,
    file: &mut ColdFile,
    bytes: &Bytes,
) -> Result<Path> {
    let stem = file.path.trim_end_matches(".parquet").to_owned();
    let state = log.refresh().await?;
    let state = state.filter(|_| file.rows > 0);
    if let Some(live) = state.and_then(|state| live_with_stem(&state, &stem)) {
        let object = log.object_path(&live);
        file.path = live;
        store.put(&object, bytes.clone().into()).await?;
        return Ok(object);
    }
    let mut attempts = 1;
    loop {
        file.path = format!("{stem}-{:016x}.parquet", random());
        let object = log.object_path(&file.path);
        let create = PutOptions::from(PutMode::Create);
        match store.put_opts(&object, bytes.clone().into(), create).await {
            Ok(_) => return Ok(object),
            // It may be this one's, whose answer was lost.
            Err(object_store::Error::AlreadyExists { .. }) if attempts < MAX_PUT_ATTEMPTS => {
                attempts += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The path of the live file whose name begins with `stem`, which has the hash of its bytes.
fn live_with_stem(state: &TableState, stem: &str) -> Option<String> {
    let (path, _) = state.files.range(stem.to_owned()..).next()?;
    path.starts_with(stem).then(|| path.clone())
}

fn encode(pending: PendingFile) -> Result<(StagedFile, Bytes)> {
    let rows_error = |source| Error::Rows {
        path: pending.table.name().to_owned(),
        source,
    };
    let sorted = rows::in_file_order(pending.table, &pending.rows).map_err(rows_error)?;
    let stats = stats(&sorted);
    let memory_bytes = segment::memory_bytes(&sorted);
    let origin = Origin::of(&sorted);
    let bytes = parquet_io::write(&[sorted]).map_err(rows_error)?;
    let sha256 = sha256(&bytes);
    let name = &sha256[..NAME_DIGITS];
    let path = match (&pending.tenant, &pending.dt) {
        (Some(tenant), Some(day)) => {
            let date = &day.date;
            format!("tenant={tenant}/dt={date}/{name}.parquet")
        }
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
            memory_bytes: Some(memory_bytes),
            origin,
            judged: None,
        }),
        extent: Extent::default(),
    };
    Ok((StagedFile { file, stats }, bytes))
}

/// Returns `bytes` when their SHA-256 is `expected` and they have `rows` rows. Without an
/// `expected` hash (a file of another engine) nothing is checked.
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
