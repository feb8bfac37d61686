//! The cold tier as this service uses it: a snapshot that is new enough, and rows from it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cold_tier::{ColdItem, ColdRows, ColdScan, ColdSnapshot, ColdTier, Table};
use event::{PartitionId, Seq};
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use tokio::sync::Mutex;

/// Oldest cached snapshot that is used. A snapshot stays complete up to its own commits; a newer one
/// only has more.
const SNAPSHOT_MAX_AGE: Duration = Duration::from_secs(2);
/// Longest wait for the next bytes of the cold tier, so that an answer without it is in time.
pub(crate) const COLD_STALL_TIMEOUT: Duration = Duration::from_secs(4);
/// Longest time to load a snapshot, so that it cannot use up the whole request.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(8);

/// The cold tier, if there is one, with the last snapshot that was loaded.
#[derive(Debug)]
pub(crate) struct ColdSource {
    /// `None` when there is no cold tier.
    tier: Option<ColdTier>,
    cached: Mutex<Option<(Instant, Arc<ColdSnapshot>)>>,
}

impl ColdSource {
    pub(crate) fn new(tier: Option<ColdTier>) -> Self {
        Self {
            tier,
            cached: Mutex::default(),
        }
    }

    pub(crate) fn is_configured(&self) -> bool {
        self.tier.is_some()
    }

    /// Returns a snapshot; `None` when the cold tier does not answer. A cached one is used only if
    /// it has `partition` up to `need` and, when `fresh`, if it was loaded after this call began.
    pub(crate) async fn snapshot(
        &self,
        partition: PartitionId,
        need: Seq,
        fresh: bool,
    ) -> Option<Arc<ColdSnapshot>> {
        let called_at = Instant::now();
        self.snapshot_when(|at, snapshot| {
            (!fresh || at >= called_at) && committed(snapshot, partition) >= need
        })
        .await
    }

    /// Returns any snapshot that is not too old; `None` when the cold tier does not answer.
    pub(crate) async fn latest(&self) -> Option<Arc<ColdSnapshot>> {
        self.snapshot_when(|_, _| true).await
    }

    async fn snapshot_when(
        &self,
        is_sufficient: impl Fn(Instant, &ColdSnapshot) -> bool,
    ) -> Option<Arc<ColdSnapshot>> {
        let loaded = tokio::time::timeout(SNAPSHOT_TIMEOUT, self.load_when(is_sufficient)).await;
        loaded.unwrap_or_else(|_elapsed| {
            tracing::warn!("cold snapshot not read in time");
            None
        })
    }

    async fn load_when(
        &self,
        is_sufficient: impl Fn(Instant, &ColdSnapshot) -> bool,
    ) -> Option<Arc<ColdSnapshot>> {
        let tier = self.tier.as_ref()?;
        let mut cached = self.cached.lock().await;
        if let Some((at, snapshot)) = &*cached
            && at.elapsed() < SNAPSHOT_MAX_AGE
            && is_sufficient(*at, snapshot)
        {
            return Some(Arc::clone(snapshot));
        }
        match tier.snapshot().await {
            Ok(snapshot) => {
                let snapshot = Arc::new(snapshot);
                *cached = Some((Instant::now(), Arc::clone(&snapshot)));
                Some(snapshot)
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cold snapshot not read"
                );
                None
            }
        }
    }

    /// Reads the first events that `scan` selects from `snapshot`, from the files that can be read. A file
    /// that cannot is logged, and its ranges are missing.
    ///
    /// # Errors
    ///
    /// The scan is wrong or the process is stopping.
    pub(crate) async fn read(
        &self,
        snapshot: &ColdSnapshot,
        scan: &ColdScan,
    ) -> anyhow::Result<ColdRows> {
        let read = self.tier()?.read_readable(&snapshot.events, scan).await?;
        for error in &read.errors {
            log_unread(Table::Events, error);
        }
        Ok(read)
    }

    /// Streams the rows of `table` that `scan` selects from `snapshot`, as [`Self::read`] does.
    ///
    /// # Errors
    ///
    /// Of the call and of each item: those of [`Self::read`].
    pub(crate) fn stream(
        &self,
        snapshot: &ColdSnapshot,
        table: Table,
        scan: ColdScan,
    ) -> anyhow::Result<BoxStream<'static, cold_tier::Result<ColdItem>>> {
        let items = self.tier()?.stream_readable(snapshot.table(table), scan);
        let logged = items.inspect_ok(move |item| {
            if let ColdItem::Unread { error, .. } = item {
                log_unread(table, error);
            }
        });
        Ok(logged.boxed())
    }

    fn tier(&self) -> anyhow::Result<&ColdTier> {
        self.tier
            .as_ref()
            .ok_or_else(|| anyhow::anyhow!("no cold tier"))
    }
}

fn log_unread(table: Table, error: &cold_tier::Error) {
    let error = error as &dyn std::error::Error;
    tracing::warn!(
        error,
        table = table.name(),
        "file of the cold tier not read"
    );
}

/// Returns the sequence up to which the cold tier has everything of `partition`; 0 if nothing.
pub(crate) fn committed(snapshot: &ColdSnapshot, partition: PartitionId) -> Seq {
    snapshot.events.committed(partition)
}
