//! Maintenance of sealed slices, all partitions in turn: merge, expire slices that are in cold, purge
//! the log, refill lost slices, enforce quotas.

mod expiry;
mod gaps;
mod proven;
mod refill;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::ensure;
use event::{Seq, Timestamp};
use tokio::{task, time};
use tokio_util::sync::CancellationToken;
use warm_tier::{Engine, Expiry, Merger, Scanner, SealedPartition, WarmTier};

pub(crate) use self::gaps::Gaps;
use crate::{
    cold::LazyColdTier,
    context::WorkerContext,
    proof::{ColdView, Doubt, Kept, MissingRows},
};

/// The periodic maintenance.
pub(crate) struct Maintenance {
    pub context: WorkerContext,
    pub tier: Arc<WarmTier>,
    pub scanner: Scanner,
    pub cold: Option<LazyColdTier>,
    pub interval: Duration,
    pub log_grace: Duration,
    pub expiry: Arc<Mutex<Expiry>>,
    pub merger: Arc<Mutex<Merger>>,
    /// The doubts of the last round, which were logged.
    pub doubts: BTreeSet<Doubt>,
    /// The rows that were missing in the last round.
    pub missing: MissingRows,
    pub gaps: Gaps,
}

impl Maintenance {
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut ticks = time::interval(self.interval);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            // Cancelling a round is safe as a crash is: each of its steps is done or not.
            match shutdown.run_until_cancelled(self.run_round()).await {
                Some(done) => done?,
                None => return Ok(()),
            }
        }
    }

    async fn run_round(&mut self) -> anyhow::Result<()> {
        let cold = self.cold_view().await;
        let mut kept = Kept::default();
        for sealed in self.tier.catalog().sealed_partitions() {
            self.maintain_partition(&sealed, cold.as_ref(), &mut kept)
                .await;
        }
        if cold.is_some() || self.cold.is_none() {
            self.publish_gaps(cold.as_ref()).await;
        }
        if let Some(cold) = cold {
            self.enforce_quotas(&cold, &mut kept).await;
            self.report(kept);
        }
        let (scanner, engine) = (self.scanner.clone(), self.tier.engine());
        let released = task::spawn_blocking(move || {
            ensure!(
                engine.is_usable(),
                "DuckDB has failed and must be started again"
            );
            Ok(scanner.release())
        });
        if let Err(error) = released.await?? {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "cannot release dropped slices now");
        }
        Ok(())
    }

    /// Reads what the cold tier has; `None` without a cold tier, or when it cannot be read now.
    async fn cold_view(&mut self) -> Option<ColdView> {
        let cold = self.cold.as_mut()?;
        match cold.view(&self.context.log).await {
            Ok(view) => Some(view),
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "cannot read the cold tier or the log's clock, expires and purges nothing meanwhile"
                );
                None
            }
        }
    }

    async fn maintain_partition(
        &self,
        sealed: &Arc<SealedPartition>,
        view: Option<&ColdView>,
        kept: &mut Kept,
    ) {
        let cold = view.map(|view| view.committed(sealed.partition));
        let is_known = cold.is_some() || self.cold.is_none();
        // A merge needs disk space for its result.
        if is_known && *self.context.appends_allowed.borrow() {
            self.merge(sealed, cold.unwrap_or(0)).await;
        }
        if let Some((view, cold)) = view.zip(cold) {
            self.expire(sealed, view, kept).await;
            self.purge(sealed, cold, view.now).await;
        }
        // Without a cold tier the log is the only other copy. While a cold tier does not answer, it is
        // not known whether a refill is needed.
        if is_known {
            self.refill(sealed, cold.unwrap_or(0)).await;
        }
    }

    /// Merges until there is nothing to merge. A merge that fails has changed nothing and waits.
    async fn merge(&self, sealed: &Arc<SealedPartition>, cold: Seq) {
        loop {
            let merger = Arc::clone(&self.merger);
            let result = run_blocking(&self.tier, sealed, move |_, sealed| {
                let mut merger = merger.lock().expect("nothing panics while it holds this");
                merger.merge_once(sealed, cold, Instant::now())
            })
            .await;
            let merges = &self.context.metrics.merges;
            match result {
                Ok(Some(merged)) => {
                    merges.with_label_values(&["ok"]).inc();
                    tracing::info!(file = merged.file, events = merged.rows, "merged");
                }
                Ok(None) => return,
                Err(error) => {
                    merges.with_label_values(&["error"]).inc();
                    // The merger has logged its own errors, and goes on with another group.
                    if error.downcast_ref::<warm_tier::Error>().is_none() {
                        tracing::warn!(error = format!("{error:#}"), "merge failed");
                        return;
                    }
                }
            }
        }
    }

    /// Publishes what stays of this round, and logs doubts that are new.
    fn report(&mut self, kept: Kept) {
        let is_damage = |doubt: &&Doubt| matches!(doubt, Doubt::Damaged { .. });
        let damaged = kept.doubts.iter().filter(is_damage).count();
        let metrics = &self.context.metrics;
        let damaged = i64::try_from(damaged).unwrap_or(i64::MAX);
        metrics.damaged_files.set(damaged);
        metrics.unproven_slices.set(kept.slices);
        for doubt in kept.doubts.difference(&self.doubts) {
            tracing::warn!(%doubt, "slices stay in warm although they are due");
        }
        self.doubts = kept.doubts;
        self.missing = kept.missing;
    }

    async fn purge(&self, sealed: &Arc<SealedPartition>, cold: Seq, now: Timestamp) {
        let before = now.minus(self.log_grace);
        let Some(through) = warm_tier::purgeable(sealed, cold, before) else {
            return;
        };
        let (log, partition) = (&self.context.log, sealed.partition);
        let result = async {
            if log.first_seq(partition).await? <= through {
                log.purge_through(partition, through).await?;
                tracing::debug!(%partition, through, "purged log");
            }
            Ok::<_, event_log::Error>(())
        };
        if let Err(error) = result.await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, %partition, "cannot purge the log now");
        }
    }
}

/// Runs `work` on a blocking thread.
async fn run_blocking<T: Send + 'static>(
    tier: &Arc<WarmTier>,
    sealed: &Arc<SealedPartition>,
    work: impl FnOnce(&Engine, &SealedPartition) -> warm_tier::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let (engine, sealed) = (tier.engine(), Arc::clone(sealed));
    Ok(task::spawn_blocking(move || work(&engine, &sealed)).await??)
}
