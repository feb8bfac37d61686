//! Publishes to the hot tier which events the warm tier has dropped as duplicates, so that readers
//! of hot need not detect them. Best effort: it retries forever and never blocks the writer.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use event::{PartitionId, Seq};
use hot_tier::{DuplicateEvent, HotWriter, Marked};
use tokio::{sync::mpsc, time};
use tokio_util::sync::CancellationToken;
use warm_tier::Duplicate;

/// Most reports that wait for the hot tier. Further ones are discarded and later requested again: no
/// reason but to bound memory.
const MAX_WAITING_REPORTS: usize = 256;
/// Pause after the hot tier failed or had no cursor. No reason but to spare a server in trouble.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Time without a report after which the hot tier's cursor is read again.
const CURSOR_CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Most duplicates marked in one call, except that those of one frame stay together: no reason but to
/// bound the call.
const MAX_MARKED_DUPLICATES: usize = 1000;

/// All duplicates after `after` up to `through`.
#[derive(Debug)]
pub(crate) struct Report {
    pub after: Seq,
    pub through: Seq,
    pub dropped: Vec<Duplicate>,
}

/// The writer's end: reports what it drops, and takes requests to report a range again.
#[derive(Clone, Debug)]
pub(crate) struct Reporter {
    reports: mpsc::Sender<Report>,
    requested: Arc<Mutex<Option<Seq>>>,
}

impl Reporter {
    /// Queues `report`, without waiting.
    pub(crate) fn report(&self, report: Report) {
        // A report that does not fit is requested again later.
        let _ = self.reports.try_send(report);
    }

    /// Takes the request to report again everything after a sequence, if there is one.
    pub(crate) fn take_request(&self) -> Option<Seq> {
        self.requested
            .lock()
            .expect("nothing panics while it holds this")
            .take()
    }
}

/// Publishes the duplicates of one partition to the hot tier.
pub(crate) struct DuplicatePublisher {
    hot: HotWriter,
    partition: PartitionId,
    reports: mpsc::Receiver<Report>,
    requested: Arc<Mutex<Option<Seq>>>,
    /// The sequence up to which the hot tier knows its duplicates; `None` when that must be read
    /// from it first.
    published: Option<Seq>,
}

/// The part of a report that is published in one call.
struct ReportPart {
    through: Seq,
    dropped: Vec<DuplicateEvent>,
}

/// Splits the duplicates of `report` after `published` into parts, at the ends of frames. The last
/// part reaches the report's end. Pure.
fn parts(published: Seq, report: &Report) -> Vec<ReportPart> {
    let mut parts = Vec::new();
    let mut dropped: Vec<DuplicateEvent> = Vec::new();
    for duplicate in report.dropped.iter().filter(|own| own.seq > published) {
        let next_frame = dropped.last().is_some_and(|last| last.seq < duplicate.seq);
        if next_frame && dropped.len() >= MAX_MARKED_DUPLICATES {
            parts.push(ReportPart {
                through: duplicate.seq - 1,
                dropped: std::mem::take(&mut dropped),
            });
        }
        dropped.push(DuplicateEvent {
            tenant: duplicate.tenant.clone(),
            conversation: duplicate.conversation_id.clone(),
            seq: duplicate.seq,
            idx: duplicate.idx,
        });
    }
    parts.push(ReportPart {
        through: report.through,
        dropped,
    });
    parts
}

/// The result of publishing a report.
enum PublishOutcome {
    /// Everything up to this sequence is published.
    Published(Seq),
    /// The hot tier knows its duplicates only up to this sequence: report again from there.
    Gap(Seq),
    /// The hot tier failed or has no cursor: read it again later.
    RetryLater,
}

impl DuplicatePublisher {
    pub(crate) fn new(hot: HotWriter, partition: PartitionId) -> (Reporter, Self) {
        let (sender, reports) = mpsc::channel(MAX_WAITING_REPORTS);
        let requested = Arc::new(Mutex::new(None));
        let reporter = Reporter {
            reports: sender,
            requested: Arc::clone(&requested),
        };
        let publisher = Self {
            hot,
            partition,
            reports,
            requested,
            published: None,
        };
        (reporter, publisher)
    }

    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        shutdown.run_until_cancelled(self.publish_forever()).await;
        Ok(())
    }

    async fn publish_forever(&mut self) {
        loop {
            let Some(published) = self.published else {
                self.read_cursor().await;
                continue;
            };
            let Some(report) = self.next_report(published).await else {
                // No report for a while: the hot tier may have lost its data meanwhile.
                self.read_cursor().await;
                continue;
            };
            match self.publish(published, &report).await {
                PublishOutcome::Published(through) => self.published = Some(through),
                PublishOutcome::Gap(checked) => self.request_after(checked),
                PublishOutcome::RetryLater => {
                    self.published = None;
                    time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Reads up to where the hot tier knows its duplicates, and requests a report of the rest.
    async fn read_cursor(&mut self) {
        match self.hot.cursor(self.partition).await {
            Ok(Some(cursor)) => self.request_after(cursor.checked),
            Ok(None) => {
                self.published = None;
                time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => self.pause_after(&error).await,
        }
    }

    fn request_after(&mut self, after: Seq) {
        self.published = Some(after);
        *self
            .requested
            .lock()
            .expect("nothing panics while it holds this") = Some(after);
    }

    /// Receives the next report that continues `published`; `None` after
    /// [`CURSOR_CHECK_INTERVAL`].
    async fn next_report(&mut self, published: Seq) -> Option<Report> {
        let deadline = time::Instant::now() + CURSOR_CHECK_INTERVAL;
        loop {
            let report = time::timeout_at(deadline, self.reports.recv())
                .await
                .ok()??;
            if report.after > published {
                self.request_after(published);
            } else if report.through > published {
                return Some(report);
            }
        }
    }

    async fn publish(&self, published: Seq, report: &Report) -> PublishOutcome {
        let mut after = published;
        for part in parts(published, report) {
            let marked = self
                .hot
                .mark_duplicates(self.partition, after, part.through, &part.dropped)
                .await;
            match marked {
                Ok(Marked::Ok) => after = part.through,
                Ok(Marked::Gap { checked }) => return PublishOutcome::Gap(checked),
                Ok(Marked::NoCursor) => return PublishOutcome::RetryLater,
                Err(error) => {
                    self.pause_after(&error).await;
                    return PublishOutcome::RetryLater;
                }
            }
        }
        PublishOutcome::Published(report.through)
    }

    async fn pause_after(&self, error: &hot_tier::Error) {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            partition = %self.partition,
            "cannot publish duplicates to the hot tier, will retry"
        );
        time::sleep(RETRY_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use event::{ConversationId, EventId, TenantId};

    use super::*;

    #[test]
    fn a_long_report_is_split_at_the_ends_of_frames() {
        let dropped = (1..=5).flat_map(|seq| {
            (0..500).map(move |idx| Duplicate {
                tenant: TenantId::default_tenant(),
                conversation_id: ConversationId::new("c").unwrap(),
                event_id: EventId::from_u128(1),
                seq,
                idx,
            })
        });
        let report = Report {
            after: 0,
            through: 9,
            dropped: dropped.collect(),
        };

        let parts = parts(1, &report);

        let cuts: Vec<_> = (parts.iter())
            .map(|part| (part.through, part.dropped.len()))
            .collect();
        assert_eq!(cuts, [(3, 1000), (9, 1000)]);
    }
}
