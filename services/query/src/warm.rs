//! The warm tier as this service uses it: the Flight client and its coverage, cached for a moment.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use event::{PartitionId, Seq};
use tokio::sync::Mutex;
use warm_tier::remote::{Client, Coverage, Duplicates, PartitionCoverage};

use crate::plan::WarmRanges;

/// Oldest cached coverage that a first attempt uses; a retry asks for a new one.
const COVERAGE_MAX_AGE: Duration = Duration::from_millis(200);
/// A compactor that does not answer must not hold up what the other tiers can answer.
const COVERAGE_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of one question about duplicates; a dedup wait asks again.
const DUPLICATES_TIMEOUT: Duration = Duration::from_millis(500);

/// Client of the warm tier, with the last coverage that it answered.
#[derive(Debug)]
pub(crate) struct WarmSource {
    pub(crate) client: Client,
    /// The last answer and when it came; `None` inside when the compactor did not answer.
    cached: Mutex<Option<(Instant, Option<Arc<Coverage>>)>>,
}

impl WarmSource {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            cached: Mutex::default(),
        }
    }

    /// Returns the ranges in the warm tier; `None` when it does not answer. A `fresh` coverage came
    /// after this call began. One request runs at a time: concurrent callers share its answer.
    pub(crate) async fn coverage(&self, fresh: bool) -> Option<Arc<Coverage>> {
        let called_at = Instant::now();
        let mut cached = self.cached.lock().await;
        if let Some((at, coverage)) = &*cached {
            let usable = if fresh {
                *at >= called_at
            } else {
                at.elapsed() < COVERAGE_MAX_AGE
            };
            if usable {
                return coverage.clone();
            }
        }
        let answer = tokio::time::timeout(COVERAGE_TIMEOUT, self.client.coverage()).await;
        let coverage = match answer {
            Ok(Ok(coverage)) => Some(Arc::new(coverage)),
            Ok(Err(error @ warm_tier::Error::OtherCompactor { .. })) => {
                tracing::error!(%error, "coverage refused");
                None
            }
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "coverage not read");
                None
            }
            Err(_elapsed) => None,
        };
        *cached = Some((Instant::now(), coverage.clone()));
        coverage
    }

    /// Returns the coverage of one partition; `None` when the warm tier does not answer or does
    /// not have the partition.
    pub(crate) async fn partition(
        &self,
        partition: PartitionId,
        fresh: bool,
    ) -> Option<PartitionCoverage> {
        let coverage = self.coverage(fresh).await?;
        coverage.partition(partition).cloned()
    }

    /// Asks the compactor which events behind `after` are duplicates; `None` when it does not
    /// answer.
    pub(crate) async fn duplicates(
        &self,
        partition: PartitionId,
        after: Seq,
    ) -> Option<Duplicates> {
        let request = self.client.duplicates(partition, after);
        let answer = tokio::time::timeout(DUPLICATES_TIMEOUT, request)
            .await
            .ok()?;
        answer
            .inspect_err(|error| {
                let error = error as &dyn std::error::Error;
                tracing::debug!(error, %partition, "duplicates not read");
            })
            .ok()
    }
}

/// Returns what a plan needs to know of the warm tier's `coverage`.
pub(crate) fn warm_ranges(coverage: &PartitionCoverage) -> WarmRanges {
    WarmRanges {
        readable: coverage.readable_range(),
        incomplete: coverage
            .dropped
            .iter()
            .chain(coverage.gap_ranges().ranges())
            .copied()
            .collect(),
    }
}
