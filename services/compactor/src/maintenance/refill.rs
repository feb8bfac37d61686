//! Refills slices that were lost in warm from the log.

use std::sync::Arc;

use event::{Seq, SeqRange};
use retention::RuleSet;
use warm_tier::{LostSlice, RefillRows, SealedPartition};

use super::{Maintenance, run_blocking};
use crate::log_range;

impl Maintenance {
    pub(super) async fn refill(&self, sealed: &Arc<SealedPartition>, cold: Seq) {
        if let Err(error) = self.try_refill(sealed, cold).await {
            let (partition, error) = (sealed.partition, format!("{error:#}"));
            tracing::error!(error, %partition, "cannot refill lost slices now, will retry");
        }
    }

    /// Refills one group of lost slices after the other, except those that were refused by the same rules.
    async fn try_refill(&self, sealed: &Arc<SealedPartition>, cold: Seq) -> anyhow::Result<()> {
        if sealed.manifest().gaps.iter().all(|gap| gap.slice.is_none()) {
            return Ok(());
        }
        let rules = Arc::clone(&self.context.rules.borrow());
        let hash = rules.hash();
        let log_first = self.context.log.first_seq(sealed.partition).await?;
        let mut failure = Ok(());
        for lost in warm_tier::to_refill(sealed, cold, log_first) {
            if self.gaps.are_refused(sealed.partition, &hash, &lost) {
                continue;
            }
            match self.refill_group(sealed, lost, &rules).await {
                Ok(refused) => self.gaps.set_refused(sealed.partition, &hash, &refused),
                // The other groups go on.
                Err(error) => failure = Err(error),
            }
        }
        failure
    }

    /// Refills a group, and returns those of which the log has other rows than they had.
    async fn refill_group(
        &self,
        sealed: &Arc<SealedPartition>,
        lost: Vec<LostSlice>,
        rules: &Arc<RuleSet>,
    ) -> anyhow::Result<Vec<LostSlice>> {
        let range = range_of(&lost);
        let rows = run_blocking(&self.tier, sealed, |engine, _| RefillRows::begin(engine)).await?;
        let (log, partition) = (&self.context.log, sealed.partition);
        let rows = log_range::read_events(log, partition, range, rows, RefillRows::add).await?;
        let rules = Arc::clone(rules);
        let refilled = run_blocking(&self.tier, sealed, move |engine, sealed| {
            warm_tier::refill(engine, sealed, &lost, &rules, &rows)
        })
        .await?;
        for slice in &refilled.slices {
            tracing::info!(%partition, lo = slice.lo, hi = slice.hi, "refilled slice from the log");
        }
        for lost in &refilled.refused {
            let (lo, hi) = (lost.lo, lost.hi);
            tracing::error!(%partition, lo, hi, "cannot refill slice: the log has other rows than it had");
        }
        Ok(refilled.refused)
    }
}

fn range_of(lost: &[LostSlice]) -> SeqRange {
    SeqRange {
        lo: lost.iter().map(|gap| gap.lo).min().unwrap_or(1),
        hi: lost.iter().map(|gap| gap.hi).max().unwrap_or(0),
    }
}
