//! Drops slices that are past their age or over a quota. What fails is logged and tried again in the next round:
//! it concerns one slice.

use std::sync::Arc;

use tokio::task;
use warm_tier::{SealedPartition, UnreadSlice};

use super::{Maintenance, run_blocking};
use crate::proof::{ColdView, Kept};

impl Maintenance {
    /// Drops the slices of one partition that are past their age.
    pub(super) async fn expire(
        &self,
        sealed: &Arc<SealedPartition>,
        view: &ColdView,
        kept: &mut Kept,
    ) {
        let rules = Arc::clone(&self.context.rules.borrow());
        let expiry = Arc::clone(&self.expiry);
        let (cold, now) = (view.committed(sealed.partition), view.now);
        let found = run_blocking(&self.tier, sealed, move |engine, sealed| {
            let mut expiry = expiry.lock().expect("nothing panics while it holds this");
            Ok(expiry.past_age(engine, sealed, &rules, cold, now))
        });
        match found.await {
            Ok(found) => {
                self.check_unread(found.unread).await;
                for slice in found.due {
                    self.drop_if_proven("expired", sealed, slice, view, kept)
                        .await;
                }
            }
            Err(error) => warn_of(&error, "cannot find old slices now"),
        }
    }

    /// Drops slices of policies that have more than their `warm.maxBytes`.
    pub(super) async fn enforce_quotas(&self, view: &ColdView, kept: &mut Kept) {
        let rules = Arc::clone(&self.context.rules.borrow());
        let (tier, expiry) = (Arc::clone(&self.tier), Arc::clone(&self.expiry));
        let committed = view.events.clone();
        let found = task::spawn_blocking(move || {
            let mut expiry = expiry.lock().expect("nothing panics while it holds this");
            let (engine, sealed_partitions) = (tier.engine(), tier.catalog().sealed_partitions());
            expiry.over_quota(&engine, &sealed_partitions, &rules, |partition| {
                committed.committed(partition)
            })
        });
        match found.await {
            Ok(found) => {
                self.check_unread(found.unread).await;
                for (sealed, slice) in found.due {
                    self.drop_if_proven("capped", &sealed, slice, view, kept)
                        .await;
                }
            }
            Err(error) => warn_of(&error.into(), "cannot find slices over a quota now"),
        }
    }

    /// Says which slices could not be read. A damaged one goes into quarantine, as when a reader finds it: it would
    /// fail for ever.
    async fn check_unread(&self, unread: Vec<UnreadSlice>) {
        for UnreadSlice {
            partition,
            slice,
            error,
        } in unread
        {
            let is_damaged = matches!(error, warm_tier::Error::Damaged { .. });
            let file = &slice.file;
            let error = anyhow::Error::from(error);
            tracing::warn!(error = format!("{error:#}"), %partition, file, "cannot read a slice, it stays");
            if !is_damaged {
                continue;
            }
            let scanner = self.scanner.clone();
            let check = task::spawn_blocking(move || scanner.check(partition, slice.range()));
            let checked = check.await.map_err(anyhow::Error::from);
            if let Err(error) = checked.and_then(|checked| Ok(checked?)) {
                warn_of(&error, "cannot check a slice now");
            }
        }
    }
}

fn warn_of(error: &anyhow::Error, what: &str) {
    tracing::warn!(error = format!("{error:#}"), "{what}");
}
