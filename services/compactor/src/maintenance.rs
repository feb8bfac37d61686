//! What happens to sealed slices, all partitions in turn: merge, drop what is old and in cold, let
//! the log forget, put back what was lost.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context as _;
use cold_tier::TableSnapshot;
use event::{PartitionId, Seq, SeqRange, StoredEvent, Timestamp};
use event_log::EventLog;
use futures::StreamExt as _;
use tokio::{task, time};
use tokio_util::sync::CancellationToken;
use warm_tier::{Engine, Expiry, LostSlice, Scanner, SealedPartition, Slice, WarmTier};

use crate::{cold::Cold, decode, worker::Shared};

/// The periodic worker.
pub(crate) struct Maintenance {
    pub shared: Shared,
    pub tier: Arc<WarmTier>,
    pub scanner: Scanner,
    pub cold: Option<Cold>,
    pub interval: Duration,
    pub log_grace: Duration,
    pub expiry: Arc<Mutex<Expiry>>,
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
            // What is cut off by a stop is as after a crash: nothing, or done.
            match shutdown.run_until_cancelled(self.round()).await {
                Some(done) => done?,
                None => return Ok(()),
            }
        }
    }

    async fn round(&mut self) -> anyhow::Result<()> {
        let committed = self.committed().await;
        for sealed in self.tier.catalog().sealed_partitions() {
            self.care_for(&sealed, committed.as_ref()).await?;
        }
        if let Some(committed) = committed {
            self.cap(committed).await.context("bound the warm tier")?;
        }
        let scanner = self.scanner.clone();
        Ok(task::spawn_blocking(move || scanner.release()).await??)
    }

    /// Up to where the cold tier has each partition; `None` when nobody knows now.
    async fn committed(&mut self) -> Option<TableSnapshot> {
        let cold = self.cold.as_mut()?;
        match cold.events().await {
            Ok(committed) => Some(committed),
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "cold tier cannot be read, drops nothing meanwhile"
                );
                None
            }
        }
    }

    async fn care_for(
        &self,
        sealed: &Arc<SealedPartition>,
        committed: Option<&TableSnapshot>,
    ) -> anyhow::Result<()> {
        // A merge needs room for its result.
        if *self.shared.taking.borrow() {
            self.merge(sealed).await;
        }
        let cold = committed.map(|events| events.committed(sealed.partition));
        if let Some(cold) = cold {
            self.expire(sealed, cold).await?;
            self.purge(sealed, cold).await;
        }
        // Without a cold tier the log is the only other copy; with one that does not answer,
        // whether it has the range is not known.
        if cold.is_some() || self.cold.is_none() {
            self.refill(sealed, cold.unwrap_or(0)).await;
        }
        Ok(())
    }

    /// Merges as long as there is something to merge. A merge that fails has changed nothing.
    async fn merge(&self, sealed: &Arc<SealedPartition>) {
        loop {
            let permit = Arc::clone(&self.shared.heavy).acquire_owned().await;
            let result = blocking(&self.tier, sealed, warm_tier::merge_once).await;
            drop(permit);
            let merges = &self.shared.metrics.merges;
            match result {
                Ok(Some(merged)) => {
                    merges.with_label_values(&["ok"]).inc();
                    tracing::info!(file = merged.file, events = merged.rows, "merged");
                }
                Ok(None) => return,
                Err(error) => {
                    merges.with_label_values(&["error"]).inc();
                    tracing::warn!(error = format!("{error:#}"), "a merge failed");
                    return;
                }
            }
        }
    }

    async fn expire(&self, sealed: &Arc<SealedPartition>, cold: Seq) -> anyhow::Result<()> {
        let rules = Arc::clone(&self.shared.rules.borrow());
        let expiry = Arc::clone(&self.expiry);
        let dropped = blocking(&self.tier, sealed, move |engine, sealed| {
            let mut expiry = expiry.lock().expect("nothing panics while it holds this");
            expiry.drop_old(engine, sealed, &rules, cold, Timestamp::now())
        })
        .await
        .context("drop old slices")?;
        self.dropped("expired", &dropped);
        Ok(())
    }

    /// What policies have more of than their `warm.maxBytes`.
    async fn cap(&self, committed: TableSnapshot) -> anyhow::Result<()> {
        let rules = Arc::clone(&self.shared.rules.borrow());
        let (tier, expiry) = (Arc::clone(&self.tier), Arc::clone(&self.expiry));
        let dropped = task::spawn_blocking(move || {
            let mut expiry = expiry.lock().expect("nothing panics while it holds this");
            let (engine, sealed_partitions) = (tier.engine(), tier.catalog().sealed_partitions());
            expiry.drop_over_quota(&engine, &sealed_partitions, &rules, |partition| {
                committed.committed(partition)
            })
        })
        .await??;
        self.dropped("capped", &dropped);
        Ok(())
    }

    fn dropped(&self, reason: &str, dropped: &[Slice]) {
        let removed = &self.shared.metrics.removed;
        let removed = removed.with_label_values(&["warm", reason]);
        for slice in dropped {
            removed.inc_by(slice.rows);
            tracing::info!(
                file = slice.file,
                events = slice.rows,
                reason,
                "dropped a slice"
            );
        }
    }

    async fn purge(&self, sealed: &Arc<SealedPartition>, cold: Seq) {
        let before = Timestamp::now().minus(self.log_grace);
        let Some(through) = warm_tier::purgeable(sealed, cold, before) else {
            return;
        };
        let (log, partition) = (&self.shared.log, sealed.partition);
        let result = async {
            if log.first_seq(partition).await? <= through {
                log.purge_through(partition, through).await?;
                tracing::debug!(%partition, through, "let the log forget");
            }
            Ok::<_, event_log::Error>(())
        };
        if let Err(error) = result.await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, %partition, "the log cannot be purged now");
        }
    }

    async fn refill(&self, sealed: &Arc<SealedPartition>, cold: Seq) {
        for lost in warm_tier::to_refill(sealed, cold) {
            match self.refill_one(sealed, lost.clone()).await {
                Ok(true) => tracing::info!(lo = lost.lo, hi = lost.hi, "refilled from the log"),
                Ok(false) => {}
                Err(error) => {
                    let (partition, error) = (sealed.partition, format!("{error:#}"));
                    tracing::error!(error, %partition, lo = lost.lo, hi = lost.hi, "cannot refill");
                }
            }
        }
    }

    /// `false` when the log no longer has all of it.
    async fn refill_one(
        &self,
        sealed: &Arc<SealedPartition>,
        lost: LostSlice,
    ) -> anyhow::Result<bool> {
        let range = SeqRange {
            lo: lost.lo,
            hi: lost.hi,
        };
        if self.shared.log.first_seq(sealed.partition).await? > range.lo {
            return Ok(false);
        }
        let events = read(&self.shared.log, sealed.partition, range).await?;
        let rules = Arc::clone(&self.shared.rules.borrow());
        blocking(&self.tier, sealed, move |engine, sealed| {
            warm_tier::refill(engine, sealed, &lost, &rules, &events)
        })
        .await?;
        Ok(true)
    }
}

async fn read(
    log: &EventLog,
    partition: PartitionId,
    range: SeqRange,
) -> anyhow::Result<Vec<StoredEvent>> {
    let messages = log.read_range(partition, range).await?;
    let messages: Vec<_> = messages.collect().await;
    let messages = messages.into_iter().collect::<Result<Vec<_>, _>>()?;
    let batches = task::spawn_blocking(move || decode::batches(messages)).await?;
    Ok(batches.into_iter().flat_map(|batch| batch.events).collect())
}

async fn blocking<T: Send + 'static>(
    tier: &Arc<WarmTier>,
    sealed: &Arc<SealedPartition>,
    work: impl FnOnce(&Engine, &SealedPartition) -> warm_tier::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let (engine, sealed) = (tier.engine(), Arc::clone(sealed));
    Ok(task::spawn_blocking(move || work(&engine, &sealed)).await??)
}
