//! Tells the hot tier which events the warm tier has dropped as duplicates, so that readers of hot
//! need not look for them. Best effort: it retries for ever and never holds up the writer.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use event::{PartitionId, Seq};
use hot_tier::{Dropped, HotWriter, Marked};
use tokio::{sync::mpsc, time};
use tokio_util::sync::CancellationToken;
use warm_tier::Duplicate;

/// Reports that wait for the hot tier. When they are more, the newest are thrown away and later
/// asked for again.
const WAITING: usize = 256;
const PAUSE: Duration = Duration::from_secs(1);

/// All duplicates behind `after` up to `through`.
#[derive(Debug)]
pub(crate) struct Report {
    pub after: Seq,
    pub through: Seq,
    pub dropped: Vec<Duplicate>,
}

/// The writer's end: reports what it drops, and answers when everything is asked for again.
#[derive(Clone, Debug)]
pub(crate) struct Reporter {
    reports: mpsc::Sender<Report>,
    wanted: Arc<Mutex<Option<Seq>>>,
}

impl Reporter {
    /// Never waits.
    pub(crate) fn report(&self, report: Report) {
        // A report that finds no room is asked for again later.
        let _ = self.reports.try_send(report);
    }

    /// From where on everything is asked for again.
    pub(crate) fn take_wanted(&self) -> Option<Seq> {
        self.wanted
            .lock()
            .expect("nothing panics while it holds this")
            .take()
    }
}

/// Tells the hot tier about one partition.
pub(crate) struct DuplicatePublisher {
    hot: HotWriter,
    partition: PartitionId,
    reports: mpsc::Receiver<Report>,
    wanted: Arc<Mutex<Option<Seq>>>,
    /// Up to where the hot tier knows; `None` before it was asked.
    known: Option<Seq>,
}

/// One call's worth of a report.
struct Part {
    through: Seq,
    dropped: Vec<Dropped>,
}

/// Duplicates told in one call, at most, but for those of one frame.
const MAX_PART: usize = 1000;

/// Cuts what of `report` lies behind `known`, at the ends of frames. The last part reaches the
/// report's end. Pure.
fn parts(known: Seq, report: &Report) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut dropped: Vec<Dropped> = Vec::new();
    for duplicate in report.dropped.iter().filter(|own| own.seq > known) {
        let next_frame = dropped.last().is_some_and(|last| last.seq < duplicate.seq);
        if next_frame && dropped.len() >= MAX_PART {
            parts.push(Part {
                through: duplicate.seq - 1,
                dropped: std::mem::take(&mut dropped),
            });
        }
        dropped.push(Dropped {
            tenant: duplicate.tenant.clone(),
            conversation: duplicate.conversation_id.clone(),
            seq: duplicate.seq,
            idx: duplicate.idx,
        });
    }
    parts.push(Part {
        through: report.through,
        dropped,
    });
    parts
}

/// What came of telling.
enum Told {
    Through(Seq),
    Again(Seq),
    Later,
}

impl DuplicatePublisher {
    pub(crate) fn new(hot: HotWriter, partition: PartitionId) -> (Reporter, Self) {
        let (to, reports) = mpsc::channel(WAITING);
        let wanted = Arc::new(Mutex::new(None));
        let reporter = Reporter {
            reports: to,
            wanted: Arc::clone(&wanted),
        };
        let publisher = Self {
            hot,
            partition,
            reports,
            wanted,
            known: None,
        };
        (reporter, publisher)
    }

    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        shutdown.run_until_cancelled(self.tell_for_ever()).await;
        Ok(())
    }

    async fn tell_for_ever(&mut self) {
        loop {
            let Some(known) = self.known else {
                self.ask().await;
                continue;
            };
            let Some(report) = self.next(known).await else {
                // Nothing to tell for a while: has the hot tier lost its memory meanwhile?
                self.ask().await;
                continue;
            };
            match self.tell(known, &report).await {
                Told::Through(through) => self.known = Some(through),
                Told::Again(checked) => self.want(checked),
                Told::Later => {
                    self.known = None;
                    time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Asks the hot tier how far it knows, and the writer for what it does not know.
    async fn ask(&mut self) {
        match self.hot.cursor(self.partition).await {
            Ok(Some(cursor)) => self.want(cursor.checked),
            Ok(None) => {
                self.known = None;
                time::sleep(PAUSE).await;
            }
            Err(error) => self.pause(&error).await,
        }
    }

    fn want(&mut self, after: Seq) {
        self.known = Some(after);
        *self
            .wanted
            .lock()
            .expect("nothing panics while it holds this") = Some(after);
    }

    /// The next report that continues `known`; `None` when none comes for a while.
    async fn next(&mut self, known: Seq) -> Option<Report> {
        const QUIET: Duration = Duration::from_secs(10);
        let deadline = time::Instant::now() + QUIET;
        loop {
            let report = time::timeout_at(deadline, self.reports.recv())
                .await
                .ok()??;
            if report.after > known {
                self.want(known);
            } else if report.through > known {
                return Some(report);
            }
        }
    }

    async fn tell(&self, known: Seq, report: &Report) -> Told {
        let mut after = known;
        for part in parts(known, report) {
            let marked = self
                .hot
                .mark_duplicates(self.partition, after, part.through, &part.dropped)
                .await;
            match marked {
                Ok(Marked::Ok) => after = part.through,
                Ok(Marked::Gap { checked }) => return Told::Again(checked),
                Ok(Marked::NoCursor) => return Told::Later,
                Err(error) => {
                    self.pause(&error).await;
                    return Told::Later;
                }
            }
        }
        Told::Through(report.through)
    }

    async fn pause(&self, error: &hot_tier::Error) {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            partition = %self.partition,
            "hot tier does not take duplicates, will retry"
        );
        time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use event::{ConversationId, EventId, TenantId};

    use super::*;

    #[test]
    fn a_long_report_is_cut_at_the_ends_of_frames() {
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
