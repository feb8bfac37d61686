//! One suite, several stores: the local disk, SeaweedFS, and any S3 that the environment names.

use std::sync::Arc;

use arrow::array::RecordBatch;
use cold_tier::{
    Change, ColdOptions, ColdScan, ColdTier, CommitOutcome, ObjectCache, Order, Result, S3Options,
    Table,
};
use event::{SeqRange, StoredEvent, Timestamp};
use tempfile::TempDir;
use testkit::SeaweedFs;

use crate::events::{PARTITION, pending, pending_hourly_stats};

pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_795_100_000_000_000);

pub(crate) struct World {
    pub(crate) address: String,
    pub(crate) options: ColdOptions,
    pub(crate) dir: TempDir,
    _seaweedfs: Option<SeaweedFs>,
}

impl World {
    pub(crate) fn disk() -> Self {
        let dir = TempDir::new().unwrap();
        let address = dir.path().join("cold/tier").display().to_string();
        Self {
            address,
            options: ColdOptions::default(),
            dir,
            _seaweedfs: None,
        }
    }

    pub(crate) async fn seaweedfs() -> Self {
        let server = SeaweedFs::start().await;
        let s3 = S3Options {
            endpoint: Some(server.endpoint.clone()),
            access_key: Some(server.access_key.clone()),
            secret_key: Some(server.secret_key.clone()),
            region: Some(server.region.clone()),
            allow_http: true,
        };
        Self::bucket(&server.bucket.clone(), s3, Some(server))
    }

    /// The S3 that `ISOTHERM_TEST_S3_*` names, for example a MinIO.
    #[cfg(feature = "external-s3")]
    pub(crate) fn from_environment() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test has no command line")]
        let var = |name: &str| {
            let name = format!("ISOTHERM_TEST_S3_{name}");
            std::env::var(&name).unwrap_or_else(|_| panic!("{name} is not set"))
        };
        let s3 = S3Options {
            endpoint: Some(var("ENDPOINT")),
            access_key: Some(var("ACCESS_KEY")),
            secret_key: Some(var("SECRET_KEY")),
            region: Some(var("REGION")),
            allow_http: true,
        };
        Self::bucket(&var("BUCKET"), s3, None)
    }

    fn bucket(bucket: &str, s3: S3Options, seaweedfs: Option<SeaweedFs>) -> Self {
        let dir = TempDir::new().unwrap();
        let prefix = dir.path().file_name().unwrap().to_str().unwrap();
        let prefix = prefix.trim_start_matches('.').to_owned();
        let cache = ObjectCache::open(dir.path().join("cache"), 1 << 20).unwrap();
        Self {
            address: format!("s3://{bucket}/{prefix}"),
            options: ColdOptions {
                s3,
                cache: Some(Arc::new(cache)),
                ..ColdOptions::default()
            },
            dir,
            _seaweedfs: seaweedfs,
        }
    }

    pub(crate) async fn writer(&self) -> ColdTier {
        ColdTier::open_for_writing(&self.address, &self.options)
            .await
            .unwrap()
    }

    pub(crate) fn reader(&self) -> ColdTier {
        ColdTier::open(&self.address, &self.options).unwrap()
    }
}

/// Rollups first, then the events, as an archiver does.
pub(crate) async fn archive(cold: &ColdTier, range: SeqRange) -> Result<CommitOutcome> {
    for (table, pending) in [
        (Table::HourlyStats, pending_hourly_stats(range)),
        (Table::Events, pending(range)),
    ] {
        let change = Change {
            adds: vec![cold.stage(pending).await?],
            range: Some((PARTITION, range)),
            ..Change::default()
        };
        let outcome = cold.commit(table, &change, NOW).await?;
        if table == Table::Events || outcome == CommitOutcome::Conflict {
            return Ok(outcome);
        }
    }
    unreachable!("events come last")
}

pub(crate) fn by_position() -> ColdScan {
    ColdScan {
        order: Some(Order::Asc),
        ..ColdScan::default()
    }
}

/// The events that `scan` finds now.
pub(crate) async fn read(cold: &ColdTier, scan: ColdScan) -> Result<Vec<StoredEvent>> {
    let snapshot = cold.snapshot().await?;
    Ok(decoded(&cold.read(&snapshot.events, &scan).await?))
}

pub(crate) fn decoded(batches: &[RecordBatch]) -> Vec<StoredEvent> {
    let events = batches.iter().flat_map(|b| segment::decode(b).unwrap());
    events.collect()
}
