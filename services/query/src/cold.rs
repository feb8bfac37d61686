//! The cold tier as this service sees it: a snapshot that is new enough, and rows from it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::record_batch::RecordBatch;
use cold_tier::{ColdScan, ColdSnapshot, ColdTier, Table};
use event::{PartitionId, Seq};
use tokio::sync::Mutex;

/// A snapshot is complete up to its own commits for ever; a newer one only knows more.
const FRESH: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(crate) struct Cold {
    /// `None` when there is no cold tier.
    tier: Option<ColdTier>,
    known: Mutex<Option<(Instant, Arc<ColdSnapshot>)>>,
}

impl Cold {
    pub(crate) fn new(tier: Option<ColdTier>) -> Self {
        Self {
            tier,
            known: Mutex::default(),
        }
    }

    pub(crate) fn is_configured(&self) -> bool {
        self.tier.is_some()
    }

    /// A snapshot that knows `partition` up to `need`, if there is one by now, and one made now
    /// when it must be `fresh`; `None` when the cold tier does not answer.
    pub(crate) async fn snapshot(
        &self,
        partition: PartitionId,
        need: Seq,
        fresh: bool,
    ) -> Option<Arc<ColdSnapshot>> {
        let asked = Instant::now();
        self.snapshot_when(|at, snapshot| {
            (!fresh || at >= asked) && committed(snapshot, partition) >= need
        })
        .await
    }

    pub(crate) async fn latest(&self) -> Option<Arc<ColdSnapshot>> {
        self.snapshot_when(|_, _| true).await
    }

    async fn snapshot_when(
        &self,
        knows_enough: impl Fn(Instant, &ColdSnapshot) -> bool,
    ) -> Option<Arc<ColdSnapshot>> {
        let tier = self.tier.as_ref()?;
        let mut known = self.known.lock().await;
        if let Some((at, snapshot)) = &*known
            && at.elapsed() < FRESH
            && knows_enough(*at, snapshot)
        {
            return Some(Arc::clone(snapshot));
        }
        match tokio::time::timeout(PATIENCE, tier.snapshot()).await {
            Ok(Ok(snapshot)) => {
                let snapshot = Arc::new(snapshot);
                *known = Some((Instant::now(), Arc::clone(&snapshot)));
                Some(snapshot)
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cold tier not read"
                );
                None
            }
            Err(_late) => {
                tracing::warn!("cold tier did not answer in time");
                None
            }
        }
    }

    pub(crate) async fn read(
        &self,
        snapshot: &ColdSnapshot,
        table: Table,
        scan: &ColdScan,
    ) -> anyhow::Result<Vec<RecordBatch>> {
        let tier = self
            .tier
            .as_ref()
            .ok_or_else(|| anyhow::anyhow!("no cold tier"))?;
        Ok(tier.read(snapshot.table(table), scan).await?)
    }
}

/// Everything of `partition` up to here is in the cold tier; 0 is nothing.
pub(crate) fn committed(snapshot: &ColdSnapshot, partition: PartitionId) -> Seq {
    snapshot.events.committed(partition)
}
