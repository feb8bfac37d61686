//! Trims the hot tier on a timer, and at once when the rules change: events past the retention limit of
//! their conversation, but none that is not sealed in the warm tier.

use std::{sync::Arc, time::Duration};

use event::{ConversationId, PartitionId, TenantId};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use hot_tier::{Limits, Trimmed};
use retention::RuleSet;
use tokio::{
    sync::watch,
    time::{self, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    retention_limit::{limit_for, strictest_limit},
    shared::{DependencyError, Shared, Signals},
};

/// Conversations trimmed at the same time. No reason for the number but to bound the load on the server.
const MAX_CONCURRENT_TRIMS: usize = 32;

/// The task that trims all partitions.
pub(crate) struct Trimmer {
    pub(crate) shared: Shared,
    pub(crate) partitions: Vec<(PartitionId, Signals)>,
    /// `None` until they are known; nothing is trimmed before.
    pub(crate) rules: watch::Receiver<Option<Arc<RuleSet>>>,
    pub(crate) interval: Duration,
}

impl Trimmer {
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut timer = time::interval(self.interval);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                changed = self.rules.changed() => changed?,
                _ = timer.tick() => {}
            }
            let Some(rules) = self.rules.borrow_and_update().clone() else {
                continue;
            };
            for (partition, signals) in &self.partitions {
                match self.trim(*partition, &rules).await {
                    Ok(trimmed) if trimmed == Trimmed::default() => {}
                    Ok(trimmed) => {
                        debug!(%partition, ?trimmed, "trimmed");
                        signals.changed.notify_one();
                    }
                    Err(error) if error.is_transient() => {
                        warn!(
                            error = &error as &dyn std::error::Error,
                            "trim failed, will retry"
                        );
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    /// Trims one partition by `rules`; returns the number of removed events.
    async fn trim(
        &self,
        partition: PartitionId,
        rules: &RuleSet,
    ) -> Result<Trimmed, DependencyError> {
        let sealed = self.shared.sealed.get(partition);
        if sealed == 0 {
            return Ok(Trimmed::default());
        }
        let (hot, now) = (&self.shared.hot, self.shared.log.now().await?);
        let strictest = strictest_limit(rules);
        let older_than = now.minus(strictest.max_age);
        let candidates = hot
            .candidates(partition, older_than, strictest.max_events)
            .await?;
        let trim = async |(tenant, conversation): (TenantId, ConversationId)| {
            let limit = limit_for(rules, tenant.as_str(), conversation.as_str());
            let limits = Limits {
                older_than: now.minus(limit.max_age),
                max_events: limit.max_events,
                sealed,
            };
            hot.trim(partition, &tenant, &conversation, limits).await
        };
        let trimmed: Vec<Trimmed> = stream::iter(candidates)
            .map(trim)
            .buffer_unordered(MAX_CONCURRENT_TRIMS)
            .try_collect()
            .await?;
        let total = Trimmed {
            by_age: trimmed.iter().map(|trimmed| trimmed.by_age).sum(),
            by_count: trimmed.iter().map(|trimmed| trimmed.by_count).sum(),
        };
        self.shared.metrics.expired.inc_by(total.by_age);
        self.shared.metrics.capped.inc_by(total.by_count);
        if total != Trimmed::default() {
            hot.raise_floor(partition).await?;
        }
        Ok(total)
    }
}
