//! State that the handlers share.

use std::{future::Future, sync::Arc, time::Duration};

use event::PartitionCount;
use tokio_util::sync::CancellationToken;
use warm_tier::sql::remote::Executor;

use crate::{
    config::SqlConfig,
    error::{QueryError, Result},
    live::LiveSignals,
    slots::{StatementSlots, TailSlots},
    sources::Sources,
};

/// Longest time to answer: longer than any source waits for its server, shorter than clients wait.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) type Shared = Arc<QueryService>;

/// The sources, and the limits that all requests share.
#[derive(Debug)]
pub(crate) struct QueryService {
    pub(crate) sources: Arc<Sources>,
    pub(crate) live: LiveSignals,
    pub(crate) partitions: PartitionCount,
    pub(crate) sql: SqlConfig,
    pub(crate) executor: Executor,
    pub(crate) sql_slots: StatementSlots,
    pub(crate) tail_slots: TailSlots,
    pub(crate) shutdown: CancellationToken,
}

impl QueryService {
    /// Runs `work` for at most `REQUEST_TIMEOUT`.
    ///
    /// # Errors
    ///
    /// Those of `work`, and `timeout` when it takes longer.
    pub(crate) async fn bounded<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::time::timeout(REQUEST_TIMEOUT, work)
            .await
            .map_err(|_| {
                let detail = format!("the tiers did not answer within {REQUEST_TIMEOUT:?}");
                QueryError::unavailable("timeout", detail)
            })?
    }
}
