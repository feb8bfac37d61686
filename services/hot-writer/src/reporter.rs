//! Says how far one partition of the hot tier is: the watermark, after every change and at most
//! five times a second, and the gauges. Notices when the tier has lost what it had.

use std::time::Duration;

use event::{PartitionId, Seq};
use event_log::Watermark;
use hot_tier::Stats;
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    metrics::TierStats,
    shared::{Fault, Shared, Signals},
};

/// Between two watermarks.
const PAUSE: Duration = Duration::from_millis(200);
/// Without a change, how often to look.
const LOOK: Duration = Duration::from_secs(2);

pub(crate) struct Reporter {
    pub(crate) shared: Shared,
    pub(crate) signals: Signals,
    pub(crate) partition: PartitionId,
}

/// What was said last.
#[derive(Default)]
struct Said {
    watermark: Option<Watermark>,
    last: Seq,
    /// The end of the log, and when it was asked for.
    log: Option<(Seq, Instant)>,
}

impl Reporter {
    pub(crate) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut said = Said::default();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = self.signals.changed.notified() => {}
                () = time::sleep(LOOK) => {}
            }
            self.look(&mut said).await?;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = time::sleep(PAUSE) => {}
            }
        }
        // What the worker wrote last.
        self.look(&mut said).await
    }

    /// One round. What passes is tried again at the next one.
    async fn look(&self, said: &mut Said) -> anyhow::Result<()> {
        match self.report(said).await {
            Ok(()) => Ok(()),
            Err(fault) if fault.is_transient() => {
                debug!(error = &fault as &dyn std::error::Error, "not reported");
                self.signals.changed.notify_one();
                Ok(())
            }
            Err(fault) => Err(fault.into()),
        }
    }

    async fn report(&self, said: &mut Said) -> Result<(), Fault> {
        let stats = self.shared.hot.stats(self.partition).await?;
        let last = stats.map_or(0, |stats| stats.cursor.last);
        let known = said.watermark.is_some();
        if last < said.last || (known && stats.is_none()) {
            warn!(
                partition = %self.partition,
                last,
                known = said.last,
                "the hot tier went back, filling it again"
            );
            self.signals.lost.notify_one();
            said.watermark = None;
        }
        said.last = last;
        let Some(stats) = stats else {
            return Ok(());
        };
        let watermark = watermark(self.partition, &stats);
        if said.watermark.as_ref() != Some(&watermark) {
            self.shared.log.publish_watermark(&watermark).await?;
            said.watermark = Some(watermark);
        }
        self.show(&stats, said).await
    }

    async fn show(&self, stats: &Stats, said: &mut Said) -> Result<(), Fault> {
        let end = match said.log {
            Some((end, at)) if at.elapsed() < LOOK => end,
            _ => self.shared.log.last_seq(self.partition).await?,
        };
        if said.log.is_none_or(|(_, at)| at.elapsed() >= LOOK) {
            said.log = Some((end, Instant::now()));
        }
        let held = TierStats {
            events: stats.cursor.events,
            bytes: stats.cursor.bytes,
            oldest_at: stats.oldest_at,
            pending: end.saturating_sub(stats.cursor.last),
        };
        self.shared.metrics.board.set(self.partition, held);
        Ok(())
    }
}

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
