//! Counts the gaps: ranges that neither warm nor cold has. Publishes those that nothing will fill, which
//! block the archive and the purge of their partitions until a person accepts the loss.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};

use event::{PartitionId, RangeSet, Seq, SeqRange, Timestamp};
use event_log::{EventLog, GapRange, OpenGap};
use retention::Class;
use warm_tier::{LostSlice, remote::PartitionCoverage};

use super::Maintenance;
use crate::proof::ColdView;

const PURGED: &str = "purged from the log before warm had read it";
const SLICE_LOST: &str = "the file in warm is lost or damaged, and the log cannot refill it";
const WARM_LOST: &str = "the warm volume is lost, and the log had it no longer";

/// The gaps as they were published, and the slices whose refill cannot succeed.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    published: BTreeMap<PartitionId, Vec<OpenGap>>,
    refused: Mutex<BTreeMap<PartitionId, Refused>>,
}

/// The lost slices of one partition of which the log has other rows than they had, by one rule set.
#[derive(Clone, Debug, Default)]
struct Refused {
    rules_hash: String,
    slices: BTreeSet<(SeqRange, Option<Class>)>,
}

/// The gaps of one partition.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Those that nothing will fill, disjoint and ascending, each with its reason.
    open: Vec<(SeqRange, &'static str)>,
    /// The number of those that will be refilled from the log.
    refillable: usize,
}

impl Gaps {
    /// Notes that by the rules with `rules_hash` the log has other rows than the slices `lost` had.
    pub(super) fn set_refused(&self, partition: PartitionId, rules_hash: &str, lost: &[LostSlice]) {
        let mut all = self.refused();
        let refused = all.entry(partition).or_default();
        if refused.rules_hash != rules_hash {
            rules_hash.clone_into(&mut refused.rules_hash);
            refused.slices.clear();
        }
        refused.slices.extend(lost.iter().map(key));
    }

    /// Whether all slices of the group `lost` were refused by the rules with `rules_hash`.
    pub(super) fn are_refused(
        &self,
        partition: PartitionId,
        rules_hash: &str,
        lost: &[LostSlice],
    ) -> bool {
        self.refused().get(&partition).is_some_and(|refused| {
            refused.rules_hash == rules_hash
                && lost.iter().all(|lost| refused.slices.contains(&key(lost)))
        })
    }

    fn refused_of(&self, partition: PartitionId) -> Refused {
        self.refused().get(&partition).cloned().unwrap_or_default()
    }

    fn refused(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Refused>> {
        self.refused
            .lock()
            .expect("nothing panics while it holds this")
    }

    /// Publishes the gaps of `partition` when they have changed.
    async fn publish(
        &mut self,
        log: &EventLog,
        partition: PartitionId,
        found: &Found,
    ) -> event_log::Result<()> {
        let before = match self.published.get(&partition) {
            Some(gaps) => gaps.clone(),
            None => {
                let all = log.open_gaps().await?.into_iter();
                let own = all.filter(|(of, _)| *of == partition);
                own.map(|(_, gap)| gap).collect()
            }
        };
        let since = |range: SeqRange| {
            let same = before.iter().find(|gap| gap.range == range);
            same.map_or_else(Timestamp::now, |gap| gap.since)
        };
        let now: Vec<_> = (found.open.iter())
            .map(|(range, reason)| OpenGap {
                range: *range,
                since: since(*range),
                reason: (*reason).to_owned(),
            })
            .collect();
        if now != before {
            log.publish_open_gaps(partition, &now).await?;
            for gap in now.iter().filter(|gap| !before.contains(gap)) {
                let gap = GapRange {
                    partition,
                    range: gap.range,
                };
                tracing::error!(%gap, "range is lost in every tier; see `isotherm gap list`");
            }
        }
        self.published.insert(partition, now);
        Ok(())
    }
}

impl Maintenance {
    /// Counts and publishes the gaps of all partitions. `view` is `None` without a cold tier.
    pub(super) async fn publish_gaps(&mut self, view: Option<&ColdView>) {
        if let Err(error) = self.try_publish_gaps(view).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "cannot publish the gaps, will retry");
        }
    }

    async fn try_publish_gaps(&mut self, view: Option<&ColdView>) -> event_log::Result<()> {
        let log = self.context.log.clone();
        let (mut gaps, mut accepted) = (0, 0);
        let mut open = Vec::new();
        for sealed in self.tier.catalog().sealed_partitions() {
            let partition = sealed.partition;
            let cold = view.map_or(0, |view| view.committed(partition));
            accepted += view.map_or(0, |view| view.events.lost(partition).ranges().len());
            let coverage = sealed.coverage();
            let log_first = log.first_seq(partition).await?;
            let refused = self.gaps.refused_of(partition);
            let found = find(&coverage, cold, log_first, &refused);
            gaps += found.refillable;
            let ranges = found.open.iter().map(|(range, _)| *range);
            open.extend(ranges.map(|range| GapRange { partition, range }));
            self.gaps.publish(&log, partition, &found).await?;
        }
        if !open.is_empty() {
            let accepted = log.accepted_gaps().await?;
            open.retain(|gap| !accepted.iter().any(|(own, _)| own == gap));
        }
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.context.metrics.gaps.set(gauge(gaps + open.len()));
        self.context.metrics.lost_ranges.set(gauge(accepted));
        Ok(())
    }
}

fn key(lost: &LostSlice) -> (SeqRange, Option<Class>) {
    let (lo, hi) = (lost.lo, lost.hi);
    let class = lost.slice.as_ref().map(|slice| slice.class);
    (SeqRange { lo, hi }, class)
}

/// Finds the gaps of one partition, of which cold has everything up to `cold`, and the log what is left
/// from `log_first` on. Pure.
fn find(warm: &PartitionCoverage, cold: Seq, log_first: Seq, refused: &Refused) -> Found {
    let mut found = Found::default();
    let mut absent = Vec::new();
    // An empty cold tier begins where warm begins.
    let before = SeqRange::new(cold + 1, warm.first.saturating_sub(1)).filter(|_| cold > 0);
    absent.extend(before.map(|range| (range, WARM_LOST)));
    let behind_cold = SeqRange {
        lo: cold + 1,
        hi: Seq::MAX,
    };
    for gap in &warm.gaps {
        let Some(range) = SeqRange::new(gap.lo, gap.hi) else {
            continue;
        };
        let Some(open) = range.intersect(&behind_cold) else {
            continue;
        };
        let is_refused = refused.slices.contains(&(range, gap.class));
        match gap.class {
            None => absent.push((open, PURGED)),
            Some(_) if log_first <= gap.lo && !is_refused => found.refillable += 1,
            Some(_) => absent.push((open, SLICE_LOST)),
        }
    }
    let merged: RangeSet = absent.iter().map(|(range, _)| *range).collect();
    let reason = |range: &SeqRange| {
        let within = absent
            .iter()
            .find(|(part, _)| part.intersect(range).is_some());
        within.map_or(PURGED, |(_, reason)| *reason)
    };
    let merged = merged.ranges().iter();
    found.open = merged.map(|range| (*range, reason(range))).collect();
    found
}

#[cfg(test)]
mod tests;
