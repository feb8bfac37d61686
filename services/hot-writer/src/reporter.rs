//! Reports one partition of the hot tier: publishes its watermark after every change, at most five times a
//! second, and updates its gauges. Detects that the tier has lost data.

use std::time::Duration;

use event::{PartitionId, Seq};
use event_log::Watermark;
use hot_tier::Stats;
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    metrics::TierStats,
    shared::{DependencyError, Shared, Signals},
};

/// The least time between two watermarks: readers see progress at once, and the log gets at most five a
/// second per partition.
const MIN_REPORT_INTERVAL: Duration = Duration::from_millis(200);
/// The interval between two reports when nothing changes; also how long a known end of the log is used.
const IDLE_REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// The task that reports one partition.
pub(crate) struct Reporter {
    pub(crate) shared: Shared,
    pub(crate) signals: Signals,
    pub(crate) partition: PartitionId,
}

/// The state as of the last report.
#[derive(Default)]
struct LastReport {
    watermark: Option<Watermark>,
    /// The cursor's `last`; 0 without a cursor.
    last: Seq,
    /// The end of the log, and when it was read.
    log_end: Option<(Seq, Instant)>,
}

impl Reporter {
    pub(crate) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut previous = LastReport::default();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = self.signals.changed.notified() => {}
                () = time::sleep(IDLE_REPORT_INTERVAL) => {}
            }
            self.report_or_retry(&mut previous).await?;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = time::sleep(MIN_REPORT_INTERVAL) => {}
            }
        }
        // The worker's last writes.
        self.report_or_retry(&mut previous).await
    }

    /// Reports once; after a transient error, the next round tries again.
    async fn report_or_retry(&self, previous: &mut LastReport) -> anyhow::Result<()> {
        match self.report(previous).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_transient() => {
                debug!(
                    error = &error as &dyn std::error::Error,
                    "report failed, will retry"
                );
                self.signals.changed.notify_one();
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Publishes the watermark when it has changed and updates the gauges; signals the worker when the
    /// cursor went back.
    async fn report(&self, previous: &mut LastReport) -> Result<(), DependencyError> {
        let stats = self.shared.hot.stats(self.partition).await?;
        let last = stats.map_or(0, |stats| stats.cursor.last);
        let had_cursor = previous.watermark.is_some();
        if last < previous.last || (had_cursor && stats.is_none()) {
            warn!(
                partition = %self.partition,
                last,
                previous = previous.last,
                "hot tier lost data, refilling it from the log"
            );
            self.signals.lost.notify_one();
            previous.watermark = None;
        }
        previous.last = last;
        let Some(stats) = stats else {
            return Ok(());
        };
        let watermark = watermark(self.partition, &stats);
        if previous.watermark.as_ref() != Some(&watermark) {
            self.shared.log.publish_watermark(&watermark).await?;
            previous.watermark = Some(watermark);
        }
        self.update_gauges(&stats, previous).await
    }

    async fn update_gauges(
        &self,
        stats: &Stats,
        previous: &mut LastReport,
    ) -> Result<(), DependencyError> {
        let log_end = match previous.log_end {
            Some((end, at)) if at.elapsed() < IDLE_REPORT_INTERVAL => end,
            _ => self.shared.log.last_seq(self.partition).await?,
        };
        if previous
            .log_end
            .is_none_or(|(_, at)| at.elapsed() >= IDLE_REPORT_INTERVAL)
        {
            previous.log_end = Some((log_end, Instant::now()));
        }
        let tier_stats = TierStats {
            events: stats.cursor.events,
            bytes: stats.cursor.bytes,
            oldest_at: stats.oldest_at,
            pending: log_end.saturating_sub(stats.cursor.last),
        };
        let gauges = &self.shared.metrics.tier_gauges;
        gauges.set(self.partition, tier_stats);
        Ok(())
    }
}

/// The watermark that `stats` amount to.
fn watermark(partition: PartitionId, stats: &Stats) -> Watermark {
    let cursor = &stats.cursor;
    Watermark::Hot {
        partition,
        floor: cursor.floor,
        last: cursor.last,
        checked: cursor.checked,
        events: cursor.events,
        bytes: cursor.bytes,
        oldest_at: stats.oldest_at,
    }
}
