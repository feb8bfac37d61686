//! The sources of rows, and what is known of each when a read begins.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use event::{PartitionId, Seq, SeqRange};
use event_log::EventLog;
use hot_tier::HotReader;
use retention::RuleSet;
use tokio::sync::{Mutex, watch};
use warm_tier::remote::{Client, Coverage, Duplicates, PartitionCoverage};

use crate::{cold::Cold, dedup_wait::DedupWaits, metrics::Metrics, plan};

/// How old a coverage may be; a read that finds it stale asks for a new one.
const FRESH: Duration = Duration::from_millis(200);
/// A compactor that does not answer must not hold up what the others can answer.
const PATIENCE: Duration = Duration::from_secs(2);
const DUPLICATES_TIMEOUT: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) log: EventLog,
    pub(crate) hot: HotReader,
    pub(crate) warm: Warm,
    pub(crate) cold: Cold,
    pub(crate) rules: watch::Receiver<Arc<RuleSet>>,
    pub(crate) metrics: Metrics,
    pub(crate) dedup_waits: DedupWaits,
}

#[derive(Debug)]
pub(crate) struct Warm {
    pub(crate) client: Client,
    known: Mutex<Option<(Instant, Option<Arc<Coverage>>)>>,
}

impl Warm {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            known: Mutex::default(),
        }
    }

    /// What the warm tier has; `None` when it does not answer. One question at a time: whoever
    /// comes meanwhile gets the same answer.
    pub(crate) async fn coverage(&self, fresh: bool) -> Option<Arc<Coverage>> {
        let asked = Instant::now();
        let mut known = self.known.lock().await;
        if let Some((at, coverage)) = &*known {
            let recent = if fresh {
                *at >= asked
            } else {
                at.elapsed() < FRESH
            };
            if recent {
                return coverage.clone();
            }
        }
        let answer = tokio::time::timeout(PATIENCE, self.client.coverage()).await;
        let coverage = match answer {
            Ok(Ok(coverage)) => Some(Arc::new(coverage)),
            Ok(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "no coverage");
                None
            }
            Err(_late) => None,
        };
        *known = Some((Instant::now(), coverage.clone()));
        coverage
    }

    /// The compactor's word on what repeats earlier events behind `after`, if it answers.
    pub(crate) async fn duplicates(
        &self,
        partition: PartitionId,
        after: Seq,
    ) -> Option<Duplicates> {
        let asked = self.client.duplicates(partition, after);
        let answer = tokio::time::timeout(DUPLICATES_TIMEOUT, asked).await.ok()?;
        answer
            .inspect_err(|error| {
                let error = error as &dyn std::error::Error;
                tracing::debug!(error, %partition, "no word on repeats");
            })
            .ok()
    }
}

/// What a plan needs to know of the warm tier.
pub(crate) fn warm_of(coverage: &PartitionCoverage) -> plan::Warm {
    plan::Warm {
        sealed: coverage.sealed_range(),
        gone: coverage
            .dropped
            .iter()
            .chain(coverage.gap_ranges().ranges())
            .copied()
            .collect(),
    }
}

/// `first..=last` of the log.
pub(crate) fn log_range(first: Seq, last: Seq) -> Option<SeqRange> {
    SeqRange::new(first.max(1), last)
}

impl Sources {
    pub(crate) fn count(&self, source: plan::Source, rows: usize) {
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        self.metrics
            .rows
            .with_label_values(&[source.tier()])
            .inc_by(rows);
    }

    pub(crate) fn rules(&self) -> Arc<RuleSet> {
        Arc::clone(&self.rules.borrow())
    }

    /// First and last sequence of the log; `None` when it does not answer.
    pub(crate) async fn log_state(
        &self,
        partition: PartitionId,
        without: bool,
    ) -> Option<(Seq, Seq)> {
        if without {
            return None;
        }
        match self.log.state(partition).await {
            Ok(state) => Some((state.first, state.last)),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "no log state");
                None
            }
        }
    }

    /// The coverage of one partition.
    pub(crate) async fn warm_partition(
        &self,
        partition: PartitionId,
        fresh: bool,
    ) -> Option<PartitionCoverage> {
        let coverage = self.warm.coverage(fresh).await?;
        coverage.partition(partition).cloned()
    }
}
