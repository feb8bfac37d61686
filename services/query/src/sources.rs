//! The sources of rows: the tiers, the log, and the rules that filter what they return.

use std::sync::Arc;

use event::{PartitionId, Seq, SeqRange, Timestamp};
use event_log::EventLog;
use hot_tier::HotReader;
use retention::RuleSet;
use tokio::sync::watch;

use crate::{
    cold::ColdSource,
    dedup_wait::{DedupState, DedupWaits},
    error::QueryError,
    memory::RequestMemory,
    metrics::Metrics,
    plan,
    warm::WarmSource,
};

/// Connections to everything that rows are read from, shared by all requests.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) log: EventLog,
    pub(crate) hot: HotReader,
    pub(crate) warm: WarmSource,
    pub(crate) cold: ColdSource,
    pub(crate) rules: watch::Receiver<Arc<RuleSet>>,
    pub(crate) metrics: Metrics,
    pub(crate) dedup_waits: DedupWaits,
    pub(crate) memory: RequestMemory,
}

/// Returns `first..=last` of the log; `None` when the log is empty.
pub(crate) fn log_range(first: Seq, last: Seq) -> Option<SeqRange> {
    SeqRange::new(first.max(1), last)
}

impl Sources {
    /// Counts `rows` read from `source` in the metrics.
    pub(crate) fn count(&self, source: plan::Source, rows: usize) {
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        self.metrics
            .rows
            .with_label_values(&[source.tier()])
            .inc_by(rows);
    }

    /// Returns the retention rules now in force.
    pub(crate) fn rules(&self) -> Arc<RuleSet> {
        Arc::clone(&self.rules.borrow())
    }

    /// Returns the time by which the ages of rows are counted.
    ///
    /// # Errors
    /// [`QueryError::Unavailable`] while it was never read from the log: no row can be shown, because
    /// one past its age would be.
    pub(crate) async fn now(&self) -> Result<Timestamp, QueryError> {
        self.log.now().await.map_err(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no time of the log"
            );
            let detail = "the event log does not answer, so the ages of events are not known";
            QueryError::unavailable("log_unavailable", detail)
        })
    }

    /// Returns the first and last sequence of the log; `None` when it is `excluded` or does not
    /// answer.
    pub(crate) async fn log_state(
        &self,
        partition: PartitionId,
        excluded: bool,
    ) -> Option<(Seq, Seq)> {
        if excluded {
            return None;
        }
        match self.log.state(partition).await {
            Ok(state) => Some((state.first, state.last)),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, %partition, "log state not read");
                None
            }
        }
    }

    /// Waits until the compactor has `partition` up to `through`, see [`DedupWaits::wait_for_commit`].
    pub(crate) async fn wait_for_commit(&self, partition: PartitionId, through: Seq) {
        self.dedup_waits
            .wait_for_commit(&self.warm, partition, through)
            .await;
    }

    /// Waits until all duplicates of `partition` up to `through` are known, see
    /// [`DedupWaits::wait`].
    pub(crate) async fn wait_for_dedup(
        &self,
        partition: PartitionId,
        checked: Seq,
        through: Seq,
    ) -> DedupState {
        self.dedup_waits
            .wait(&self.hot, &self.warm, partition, checked, through)
            .await
    }
}
