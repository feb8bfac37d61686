//! What the handlers share.

use std::{future::Future, sync::Arc, time::Duration};

use event::PartitionCount;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    config::SqlConfig,
    error::{Problem, Result},
    live::Live,
    sources::Sources,
};

/// Longer than any source waits for its server, shorter than clients do.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

pub(crate) type Shared = Arc<Service>;

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) sources: Arc<Sources>,
    pub(crate) live: Live,
    pub(crate) partitions: PartitionCount,
    pub(crate) sql: SqlConfig,
    /// Statements that run now.
    pub(crate) sql_slots: Arc<Semaphore>,
    /// Clients that follow now.
    pub(crate) tail_slots: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
}

impl Service {
    /// `work`, or an answer that says that it took too long.
    pub(crate) async fn bounded<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::time::timeout(REQUEST_LIMIT, work)
            .await
            .map_err(|_| {
                let detail = format!("the tiers did not answer within {REQUEST_LIMIT:?}");
                Problem::unavailable("timeout", detail)
            })?
    }
}
