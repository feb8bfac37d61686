//! One run: archives what is sealed, then maintains the cold tier. A failed step is recorded in the
//! summary and the other steps still run; what is committed stays.

use std::time::Duration;

use anyhow::Context as _;
use cold_tier::ColdTier;
use event::{PartitionId, RangeSet, SeqRange, Timestamp};
use event_log::EventLog;
use retention::RuleSet;
use tokio_util::sync::CancellationToken;
use warm_tier::remote::{Client, PartitionCoverage};

use crate::{
    archive::{ArchivedTotals, PartitionArchiver},
    config::Config,
    maintenance::Maintenance,
    metrics::Metrics,
    plan::{self, ArchiveStep, Committed},
    progress::Progress,
    summary::Summary,
    watermark,
};

/// Bounds a partition whose ranges are always committed by another run first; that run archives it.
const MAX_CONSECUTIVE_CONFLICTS: u32 = 200;
/// Bounds the retries of one partition while its slices change or the compactor restarts: with the
/// pause, 5 s in addition to the time of the attempts.
pub(crate) const MAX_TRANSIENT_ERRORS: u32 = 20;
pub(crate) const TRANSIENT_ERROR_PAUSE: Duration = Duration::from_millis(250);

/// The inputs of a run.
pub(crate) struct Run<'a> {
    pub(crate) config: &'a Config,
    pub(crate) log: &'a EventLog,
    pub(crate) warm: &'a [Client],
    pub(crate) cold: &'a ColdTier,
    pub(crate) metrics: &'a Metrics,
    pub(crate) shutdown: &'a CancellationToken,
}

impl Run<'_> {
    /// Runs every step. Fails early only when the rules cannot be read or the watermarks not
    /// published.
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
            let archived = self.archive_from(warm, (&rules, &policy), now, &progress, &mut summary);
            if let Err(error) = archived.await {
                summary.record_error("archive", &error);
                continue;
            }
            if let Err(error) = self.repair_from(warm, now, &mut summary).await {
                summary.record_error("repair", &error);
            }
        }
        let maintenance = Maintenance {
            cold: self.cold,
            warm: self.warm,
            log: self.log,
            rules: &rules,
            policy: &policy,
            file_memory: self.config.file_memory,
            now,
            metrics: self.metrics,
            progress: &progress,
        };
        if !self.shutdown.is_cancelled() {
            let maintained = maintenance
                .run(self.config.vacuum_after, &mut summary)
                .await;
            maintained
                .unwrap_or_else(|error| summary.record_error("maintain the cold tier", &error));
        }
        self.publish_watermarks(&mut summary).await?;
        Ok(summary)
    }

    /// Archives all partitions of one compactor.
    async fn archive_from(
        &self,
        warm: &Client,
        (rules, policy): (&RuleSet, &str),
        now: Timestamp,
        progress: &Progress,
        summary: &mut Summary,
    ) -> anyhow::Result<()> {
        let coverage = warm.coverage().await;
        let coverage = coverage.context("ask the compactor what is sealed")?;
        for partition_coverage in &coverage.partitions {
            let partition = partition_coverage.partition;
            progress.set_step(format!("archive {partition}"));
            let archived = self.archive_partition(warm, partition, (rules, policy), now, summary);
            if let Err(error) = archived.await {
                summary.record_error(&format!("archive {partition}"), &error);
            }
        }
        Ok(())
    }

    /// Archives range after range. Each is planned from the latest state, because other runs may
    /// commit and slices may be merged in the meantime.
    async fn archive_partition(
        &self,
        warm: &Client,
        partition: PartitionId,
        (rules, policy): (&RuleSet, &str),
        now: Timestamp,
        summary: &mut Summary,
    ) -> anyhow::Result<()> {
        let (mut conflicts, mut transient_errors) = (0, 0);
        let accepted = self.accepted_gaps(partition).await?;
        while !self.shutdown.is_cancelled() && conflicts < MAX_CONSECUTIVE_CONFLICTS {
            let coverage = warm.coverage().await.context("ask the compactor")?;
            let Some(coverage) = coverage.partition(partition) else {
                break;
            };
            let committed = self.committed(partition).await?;
            let (range, lost) = match plan::next_step(committed, coverage, &accepted) {
                ArchiveStep::UpToDate => break,
                ArchiveStep::Blocked(reason) => anyhow::bail!("{reason}"),
                ArchiveStep::Archive { range, lost } => (range, lost),
            };
            let archiver = self.archiver(warm, coverage, &lost, (rules, policy), now);
            let totals = match archiver.archive(range).await {
                Ok(Some(totals)) => totals,
                Ok(None) => {
                    conflicts += 1;
                    continue;
                }
                Err(error) if is_transient(&error) && transient_errors < MAX_TRANSIENT_ERRORS => {
                    transient_errors += 1;
                    tokio::time::sleep(TRANSIENT_ERROR_PAUSE).await;
                    continue;
                }
                Err(error) => {
                    report_damage(warm, partition, range, &error).await;
                    return Err(error);
                }
            };
            conflicts = 0;
            self.record(totals, summary);
            let snapshot = self.cold.snapshot().await.context("read the cold tier")?;
            let published = watermark::publish(self.log, &snapshot, partition).await;
            published.context("publish the watermark")?;
        }
        Ok(())
    }

    fn record(&self, totals: ArchivedTotals, summary: &mut Summary) {
        summary.archived += totals.events;
        summary.not_archived += totals.not_archived;
        summary.files_written += totals.files;
        summary.bytes_written += totals.bytes;
        self.metrics.moved.inc_by(totals.events);
        self.metrics.files.inc_by(totals.files);
    }

    fn archiver<'s>(
        &'s self,
        warm: &'s Client,
        coverage: &'s PartitionCoverage,
        lost: &'s RangeSet,
        (rules, policy): (&'s RuleSet, &'s str),
        now: Timestamp,
    ) -> PartitionArchiver<'s> {
        PartitionArchiver {
            warm,
            cold: self.cold,
            coverage,
            rules,
            policy,
            file_memory: self.config.file_memory,
            lost,
            now,
        }
    }

    /// Reads the gaps of `partition` whose loss a person has accepted.
    async fn accepted_gaps(&self, partition: PartitionId) -> anyhow::Result<RangeSet> {
        let accepted = self.log.accepted_gaps().await;
        let accepted = accepted.context("read the accepted gaps")?.into_iter();
        let own = accepted.filter(|(gap, _)| gap.partition == partition);
        Ok(own.map(|(gap, _)| gap.range).collect())
    }

    async fn committed(&self, partition: PartitionId) -> anyhow::Result<Committed> {
        let snapshot = self.cold.snapshot().await.context("read the cold tier")?;
        Ok(Committed {
            hourly_stats: snapshot.hourly_stats.committed(partition),
            conversation_summary: snapshot.conversation_summary.committed(partition),
            events: snapshot.events.committed(partition),
        })
    }

    /// Publishes the watermarks of all partitions, and records the size of the cold tier.
    async fn publish_watermarks(&self, summary: &mut Summary) -> anyhow::Result<()> {
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

/// Tells the compactor when a row of `range` is not what was written: it takes the slice out and refills it
/// from the log, so that a later run can archive it.
async fn report_damage(
    warm: &Client,
    partition: PartitionId,
    range: SeqRange,
    error: &anyhow::Error,
) {
    if error.downcast_ref::<segment::Error>().is_some()
        && let Err(error) = warm.check(partition, range).await
    {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, %partition, %range, "cannot report a damaged row");
    }
}

/// Whether slices were merged or dropped since the coverage was read, or the compactor is
/// restarting.
pub(crate) fn is_transient(error: &anyhow::Error) -> bool {
    let warm = error.downcast_ref::<warm_tier::Error>();
    warm.is_some_and(warm_tier::Error::is_transient)
}
