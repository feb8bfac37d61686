//! One run: copy what is sealed, then keep the cold tier in order. What fails is noted and does
//! not stop the rest; what is committed stays.

use std::time::Duration;

use anyhow::Context as _;
use cold_tier::ColdTier;
use event::{PartitionId, Timestamp};
use event_log::EventLog;
use tokio_util::sync::CancellationToken;
use warm_tier::remote::{Client, PartitionCoverage};

use crate::{
    archive::Source,
    config::Config,
    maintenance::Maintenance,
    metrics::Metrics,
    plan::{self, Committed, Next},
    progress::Progress,
    summary::Summary,
    watermark,
};

/// How often in a row a range may turn out to be archived by another run already.
const OVERTAKEN: u32 = 200;
/// How often the warm tier may change, or go away, while a range is read.
const MOVED_ON: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

pub(crate) struct Run<'a> {
    pub(crate) config: &'a Config,
    pub(crate) log: &'a EventLog,
    pub(crate) warm: &'a [Client],
    pub(crate) cold: &'a ColdTier,
    pub(crate) metrics: &'a Metrics,
    pub(crate) shutdown: &'a CancellationToken,
}

impl Run<'_> {
    pub(crate) async fn run(&self, now: Timestamp) -> anyhow::Result<Summary> {
        let rules = self.log.policy().await.context("read the rules")?;
        let policy = rules.hash();
        let acknowledged = self.log.ack_policy("archiver", &policy).await;
        acknowledged.context("acknowledge the rules")?;
        let progress = Progress::start();
        let mut summary = Summary {
            policy: policy.clone(),
            ..Summary::default()
        };
        for warm in self.warm {
            if let Err(error) = self.copy(warm, &policy, now, &progress, &mut summary).await {
                summary.failed("archive", &error);
            }
        }
        let maintenance = Maintenance {
            cold: self.cold,
            rules: &rules,
            policy: &policy,
            now,
            metrics: self.metrics,
            progress: &progress,
        };
        if !self.shutdown.is_cancelled() {
            let kept = maintenance
                .run(self.config.vacuum_after, &mut summary)
                .await;
            kept.unwrap_or_else(|error| summary.failed("keep the cold tier in order", &error));
        }
        self.publish(&mut summary).await?;
        Ok(summary)
    }

    async fn copy(
        &self,
        warm: &Client,
        policy: &str,
        now: Timestamp,
        progress: &Progress,
        summary: &mut Summary,
    ) -> anyhow::Result<()> {
        let coverage = warm.coverage().await;
        let coverage = coverage.context("ask the compactor what is sealed")?;
        for own in &coverage.partitions {
            let partition = own.partition;
            progress.says(format!("archive {partition}"));
            let copied = self.copy_partition(warm, partition, policy, now, summary);
            if let Err(error) = copied.await {
                summary.failed(&format!("archive {partition}"), &error);
            }
        }
        Ok(())
    }

    /// Range after range. Each is planned anew: another run may be at work, slices may be merged.
    async fn copy_partition(
        &self,
        warm: &Client,
        partition: PartitionId,
        policy: &str,
        now: Timestamp,
        summary: &mut Summary,
    ) -> anyhow::Result<()> {
        let (mut overtaken, mut moved_on) = (0, 0);
        while !self.shutdown.is_cancelled() && overtaken < OVERTAKEN {
            let coverage = warm.coverage().await.context("ask the compactor")?;
            let Some(coverage) = coverage.partition(partition) else {
                break;
            };
            let range = match plan::next_range(self.committed(partition).await?, coverage) {
                Next::Nothing => break,
                Next::Blocked(reason) => anyhow::bail!("{reason}"),
                Next::Archive(range) => range,
            };
            let source = self.source(warm, coverage, policy, now);
            let moved = match source.archive(range).await {
                Ok(Some(moved)) => moved,
                Ok(None) => {
                    overtaken += 1;
                    continue;
                }
                Err(error) if is_moved_on(&error) && moved_on < MOVED_ON => {
                    moved_on += 1;
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            overtaken = 0;
            summary.archived += moved.events;
            summary.not_archived += moved.not_archived;
            summary.files_written += moved.files;
            summary.bytes_written += moved.bytes;
            self.metrics.moved.inc_by(moved.events);
            self.metrics.files.inc_by(moved.files);
            let snapshot = self.cold.snapshot().await.context("read the cold tier")?;
            let published = watermark::publish(self.log, &snapshot, partition).await;
            published.context("publish the watermark")?;
        }
        Ok(())
    }

    fn source<'s>(
        &'s self,
        warm: &'s Client,
        coverage: &'s PartitionCoverage,
        policy: &'s str,
        now: Timestamp,
    ) -> Source<'s> {
        Source {
            warm,
            cold: self.cold,
            coverage,
            policy,
            now,
        }
    }

    async fn committed(&self, partition: PartitionId) -> anyhow::Result<Committed> {
        let snapshot = self.cold.snapshot().await.context("read the cold tier")?;
        Ok(Committed {
            hourly_stats: snapshot.hourly_stats.committed(partition),
            conversation_summary: snapshot.conversation_summary.committed(partition),
            events: snapshot.events.committed(partition),
        })
    }

    async fn publish(&self, summary: &mut Summary) -> anyhow::Result<()> {
        let snapshot = self.cold.snapshot().await.context("read the cold tier")?;
        for partition in snapshot.committed().into_keys() {
            let published = watermark::publish(self.log, &snapshot, partition).await;
            published.context("publish the watermark")?;
        }
        summary.kept = snapshot.events.rows();
        summary.kept_bytes = snapshot.events.bytes();
        Ok(())
    }
}

/// Slices were merged or dropped since the coverage was read, or the compactor is restarting.
fn is_moved_on(error: &anyhow::Error) -> bool {
    let warm = error.downcast_ref::<warm_tier::Error>();
    warm.is_some_and(warm_tier::Error::is_transient)
}
