//! The loop of one partition: take what the log has, write it, go on.
//!
//! Progress lives in the hot tier, in the same script as the events. There is nothing to
//! acknowledge; a writer that dies, or is not alone, starts again behind the last event written.

use std::time::Duration;

use anyhow::Context as _;
use event::{PartitionId, Seq};
use event_log::{LogMessage, Watermark};
use futures::{
    StreamExt as _,
    stream::{BoxStream, ReadyChunks},
};
use hot_tier::{Appended, HotCursor};
use service_runtime::{Backoff, Linger, propagation};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use crate::{
    batch::{Batch, DamagedFrame, batch_of},
    shared::{Fault, Shared, Signals},
};

/// Messages in one batch: at most 16,000 events, and 8 MiB before compression.
const MAX_BATCH_MESSAGES: usize = 32;

/// Under load an entry of the tier holds more events of its conversation.
const LINGER: Linger = Linger {
    times: 2,
    max: Duration::from_millis(50),
};

type Messages = ReadyChunks<BoxStream<'static, event_log::Result<LogMessage>>>;

pub(crate) struct Worker {
    pub(crate) shared: Shared,
    pub(crate) signals: Signals,
    pub(crate) partition: PartitionId,
}

/// What became of a batch.
enum Written {
    /// All of it is in the tier: go on behind this sequence.
    Through(Seq),
    /// The tier is further back than the batch: read again from there.
    WentBack,
}

impl Worker {
    pub(crate) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let span = info_span!("partition", partition = %self.partition);
        let result = self.follow(&shutdown).instrument(span).await;
        if shutdown.is_cancelled() {
            // A retry that was given up, not a failure.
            return Ok(());
        }
        result
    }

    async fn follow(&self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        loop {
            let cursor = self.begin(shutdown).await.context("read the cursor")?;
            info!(
                last = cursor.last,
                floor = cursor.floor,
                "following the log"
            );
            self.signals.changed.notify_one();
            let mut messages = self.read_behind(cursor.last, shutdown).await?;
            let mut last = cursor.last;
            loop {
                let batch = tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return Ok(()),
                    () = self.signals.lost.notified() => break,
                    batch = messages.next() => batch.context("the log ended")?,
                };
                let batch: Result<Vec<_>, _> = batch.into_iter().collect();
                let batch = batch.context("read the log")?;
                let (full, began) = (batch.len() == MAX_BATCH_MESSAGES, Instant::now());
                match self.write_all(batch, last, shutdown).await? {
                    Written::Through(seq) => last = seq,
                    Written::WentBack => break,
                }
                if !full {
                    LINGER.after(began).await;
                }
            }
        }
    }

    /// The cursor; made when the tier has none: behind what is sealed in warm, else at the first
    /// message of the log.
    async fn begin(&self, shutdown: &CancellationToken) -> Result<HotCursor, Fault> {
        let begin = async || {
            let (hot, partition) = (&self.shared.hot, self.partition);
            if let Some(cursor) = hot.cursor(partition).await? {
                return Ok(cursor);
            }
            let floor = self.origin().await?;
            warn!(floor, "the hot tier is empty, filling it");
            Ok(hot.start(partition, floor).await?)
        };
        Backoff::default()
            .retry("begin", shutdown, Fault::is_transient, begin)
            .await
    }

    async fn origin(&self) -> Result<Seq, Fault> {
        let own = self.partition;
        let sealed = self.shared.log.watermarks().await?.into_iter();
        let sealed = sealed.filter_map(|watermark| match watermark {
            Watermark::Warm {
                partition, sealed, ..
            } if partition == own => Some(sealed),
            _ => None,
        });
        let first = self.shared.log.first_seq(own).await?;
        Ok(sealed.max().map_or(first, |sealed| first.max(sealed + 1)))
    }

    async fn read_behind(
        &self,
        last: Seq,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Messages> {
        let open = || self.shared.log.read_from(self.partition, last + 1);
        let messages = Backoff::default()
            .retry(
                "read the log",
                shutdown,
                event_log::Error::is_transient,
                open,
            )
            .await
            .context("read the log")?;
        Ok(messages.boxed().ready_chunks(MAX_BATCH_MESSAGES))
    }

    /// Writes `messages`, of which the tier has everything up to `last`.
    async fn write_all(
        &self,
        mut messages: Vec<LogMessage>,
        mut last: Seq,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Written> {
        loop {
            messages.retain(|message| message.seq > last);
            let run = consecutive(&messages);
            let batch = whole(run).inspect_err(|damaged| self.report(damaged))?;
            let Some(batch) = batch else {
                return Ok(Written::Through(last));
            };
            let span = info_span!(
                "batch",
                partition = %self.partition,
                messages = run.len(),
                events = batch.events
            );
            for message in run {
                let headers = message.headers.iter();
                propagation::link_from(&span, headers.map(|(k, v)| (k.as_str(), v.as_str())));
            }
            let written = self.write(&batch, last, shutdown).instrument(span).await;
            if written.context("write to the hot tier")? == Appended::Ok {
                last = batch.last;
                continue;
            }
            // Another writer, or an answer that was lost, or a tier that was.
            let cursor = self.begin(shutdown).await.context("read the cursor")?;
            debug!(last, found = cursor.last, "the cursor is elsewhere");
            if cursor.last < last {
                return Ok(Written::WentBack);
            }
            last = cursor.last;
        }
    }

    /// Writes one batch, trying again while the tier is away or full.
    async fn write(
        &self,
        batch: &Batch,
        last: Seq,
        shutdown: &CancellationToken,
    ) -> Result<Appended, hot_tier::Error> {
        let timer = self.shared.metrics.write_seconds.start_timer();
        let write = || self.try_write(batch, last);
        let appended = Backoff::default()
            .retry("write", shutdown, hot_tier::Error::is_transient, write)
            .await?;
        timer.observe_duration();
        if appended == Appended::Ok {
            self.shared.metrics.moved.inc_by(batch.events);
            self.signals.changed.notify_one();
            debug!(last = batch.last, packs = batch.packs.len(), "written");
        }
        Ok(appended)
    }

    async fn try_write(&self, batch: &Batch, last: Seq) -> hot_tier::Result<Appended> {
        let (hot, partition) = (&self.shared.hot, self.partition);
        let before = batch.first - 1;
        if before != last {
            warn!(
                last,
                first = batch.first,
                "the log was purged before it was copied"
            );
            let skipped = hot.skip(partition, last, batch.first).await?;
            if skipped == Appended::Gap {
                return Ok(Appended::Gap);
            }
        }
        hot.append(partition, before, batch.last, &batch.packs)
            .await
    }

    fn report(&self, damaged: &DamagedFrame) {
        self.shared.metrics.damaged.inc();
        error!(
            error = damaged as &dyn std::error::Error,
            seq = damaged.seq,
            cause = %damaged.source,
            "a message of the log is damaged, stopping"
        );
    }
}

/// The consecutive messages that `messages` begin with: all of them, but where the log was purged.
fn consecutive(messages: &[LogMessage]) -> &[LogMessage] {
    messages
        .chunk_by(|one, next| one.seq + 1 == next.seq)
        .next()
        .unwrap_or_default()
}

/// The batch of `run` up to its first damaged message, which is an error when it is the next one.
fn whole(run: &[LogMessage]) -> Result<Option<Batch>, DamagedFrame> {
    let damaged = match batch_of(run) {
        Err(damaged) => damaged,
        settled => return settled,
    };
    let good = run.partition_point(|message| message.seq < damaged.seq);
    if good == 0 {
        return Err(damaged);
    }
    batch_of(&run[..good])
}
