//! The worker of one partition: reads the log from its own offset, appends, and seals in time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use event::{Seq, Timestamp};
use event_log::{LogMessage, Watermark};
use futures::StreamExt as _;
use service_runtime::{Linger, propagation};
use tokio::{sync::watch, task, time};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use warm_tier::{Frames, Partition};

use crate::{
    config::SealRules,
    context::WorkerContext,
    decode,
    duplicates::{Report, Reporter},
    log_identity,
    metrics::PartitionStats,
    throttle::Throttle,
};

/// Most messages of one read; [`decode::batches`] bounds one transaction.
const MAX_CHUNK_MESSAGES: usize = 256;
/// Time between two checks whether to seal or to report duplicates again.
const TICK_INTERVAL: Duration = Duration::from_millis(200);
/// The wait after a chunk that was not full, so that under load a transaction has more events.
const LINGER: Linger = Linger {
    times: 1,
    max: Duration::from_millis(50),
};
/// Most spans that a batch's span is linked to: no reason but to bound its size.
const MAX_LINKS: usize = 32;

/// The writer of one partition.
pub(crate) struct Worker {
    context: WorkerContext,
    /// `None` only while a blocking thread has it.
    partition: Option<Partition>,
    duplicates: Option<Reporter>,
    watermarks: watch::Sender<Option<Watermark>>,
    /// When the first batch was appended to the open segment.
    open_since: Option<Instant>,
    throttle: Throttle,
}

impl Worker {
    pub(crate) fn new(
        context: WorkerContext,
        partition: Partition,
        duplicates: Option<Reporter>,
        watermarks: watch::Sender<Option<Watermark>>,
    ) -> Self {
        let open_since = (!partition.open_state().is_empty).then(Instant::now);
        Self {
            throttle: Throttle::new(context.throttle_under_pressure.clone()),
            context,
            partition: Some(partition),
            duplicates,
            watermarks,
            open_since,
        }
    }

    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        self.check_log().await.context("compare with the log")?;
        self.publish();
        let (id, next) = (self.partition().id(), self.partition().next_seq());
        let log = self.context.log.clone();
        let messages = log.read_from(id, next).await.context("read the log")?;
        let mut chunks = messages.ready_chunks(MAX_CHUNK_MESSAGES);
        let sealed = self.partition().sealed();
        let mut ticks = time::interval(TICK_INTERVAL);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            let appends_allowed = *self.context.appends_allowed.borrow();
            let chunk = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                _ = ticks.tick() => None,
                chunk = self.throttle.then(&sealed, chunks.next()), if appends_allowed => {
                    Some(chunk.context("event log closed")?)
                }
            };
            match chunk {
                Some(chunk) => {
                    let (full, began) = (chunk.len() == MAX_CHUNK_MESSAGES, time::Instant::now());
                    let chunk = chunk.into_iter().collect::<Result<Vec<_>, _>>();
                    self.append(chunk.context("read the log")?).await?;
                    if !full {
                        LINGER.after(began).await;
                    }
                }
                None => self.tick().await?,
            }
        }
    }

    /// Checks the log's identity. Without the next sequence, continues at the first that the log has.
    async fn check_log(&mut self) -> anyhow::Result<()> {
        let anchor = self.blocking(|partition| partition.log_anchor()).await?;
        let (id, next) = (self.partition().id(), self.partition().next_seq());
        let known = next - 1;
        let state = log_identity::check_warm(&self.context, id, known, anchor).await?;
        if state.first <= next {
            return Ok(());
        }
        tracing::error!(
            partition = %self.partition().id(),
            expected = next,
            first = state.first,
            "events were purged from the log before they were stored, the range becomes a gap"
        );
        let rules = Arc::clone(&self.context.rules.borrow());
        let first = state.first;
        self.blocking(move |partition| {
            partition.seal(&rules)?;
            partition.skip_to(first)
        })
        .await
    }

    async fn append(&mut self, messages: Vec<LogMessage>) -> anyhow::Result<()> {
        let received_at = messages.last().map(|message| message.received_at);
        let span = tracing::info_span!(
            "append",
            partition = %self.partition().id(),
            messages = messages.len(),
        );
        for message in messages.iter().take(MAX_LINKS) {
            let headers = message.headers.iter();
            propagation::link_from(&span, headers.map(|(name, value)| (&**name, &**value)));
        }
        async {
            let batches = task::spawn_blocking(move || decode::batches(messages)).await?;
            for frames in batches {
                self.append_batch(frames).await.context("append to warm")?;
            }
            anyhow::Ok(())
        }
        .instrument(span)
        .await?;
        self.throttle.appended(received_at);
        self.tick().await
    }

    async fn append_batch(&mut self, frames: Frames) -> anyhow::Result<()> {
        let (range, dead) = (frames.range, frames.dead_letters.len() as u64);
        for (seq, _) in &frames.dead_letters {
            tracing::error!(
                partition = %self.partition().id(),
                seq,
                "frame cannot be decoded and becomes a dead letter"
            );
        }
        let started = Instant::now();
        let appended = self
            .blocking(move |partition| partition.append(frames))
            .await?;
        let metrics = &self.context.metrics;
        metrics
            .append_seconds
            .observe(started.elapsed().as_secs_f64());
        metrics.moved.inc_by(appended.stored);
        metrics.dead_letters.inc_by(dead);
        let dropped = appended.dropped.len() as u64;
        let removed = metrics.removed.with_label_values(&["warm", "duplicate"]);
        removed.inc_by(dropped);
        tracing::debug!(stored = appended.stored, dropped, hi = range.hi, "appended");
        self.open_since.get_or_insert(started);
        self.publish();
        self.report(range.lo - 1, range.hi, appended.dropped);
        Ok(())
    }

    fn report(&self, after: Seq, through: Seq, dropped: Vec<warm_tier::Duplicate>) {
        if let Some(reporter) = &self.duplicates {
            reporter.report(Report {
                after,
                through,
                dropped,
            });
        }
    }

    /// Seals if it is time, and reports duplicates again if that was requested.
    async fn tick(&mut self) -> anyhow::Result<()> {
        let state = self.partition().open_state();
        let waited = self
            .open_since
            .map_or(Duration::ZERO, |since| since.elapsed());
        let SealRules { bytes, after } = self.context.seal;
        if !state.is_empty && (state.encoded_bytes >= bytes || waited >= after) {
            self.seal().await.context("seal")?;
        }
        let requested = self.duplicates.as_ref().and_then(Reporter::take_request);
        if let Some(after) = requested {
            let through = self.partition().next_seq() - 1;
            let dropped = self
                .blocking(move |partition| partition.dropped_after(after))
                .await?;
            self.report(after, through, dropped);
        }
        self.publish();
        Ok(())
    }

    async fn seal(&mut self) -> anyhow::Result<()> {
        // Another seal or merge is running: the next tick tries again.
        let Ok(permit) = Arc::clone(&self.context.seal_or_merge).try_acquire_owned() else {
            return Ok(());
        };
        let rules = Arc::clone(&self.context.rules.borrow());
        let started = Instant::now();
        let sealed = self
            .blocking(move |partition| {
                partition.forget_ids(Timestamp::now())?;
                partition.seal(&rules)
            })
            .await;
        drop(permit);
        let metrics = &self.context.metrics;
        metrics
            .seal_seconds
            .observe(started.elapsed().as_secs_f64());
        let result = if sealed.is_ok() { "ok" } else { "error" };
        metrics.seals.with_label_values(&[result]).inc();
        self.open_since = None;
        if let Some(sealed) = sealed? {
            tracing::info!(
                partition = %self.partition().id(),
                lo = sealed.range.lo,
                hi = sealed.range.hi,
                slices = sealed.slices.len(),
                events = sealed.slices.iter().map(|slice| slice.rows).sum::<u64>(),
                "sealed"
            );
        }
        Ok(())
    }

    /// Runs `work` on a blocking thread. After an error the process must end: DuckDB's state in memory
    /// may lack what it has committed.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Partition) -> warm_tier::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let mut partition = self.partition.take().expect("only this takes it");
        let span = tracing::Span::current();
        let (partition, result) = task::spawn_blocking(move || {
            let _entered = span.entered();
            let result = work(&mut partition);
            (partition, result)
        })
        .await
        .context("a blocking task")?;
        self.partition = Some(partition);
        Ok(result?)
    }

    /// Updates the metrics and the watermark.
    fn publish(&self) {
        let partition = self.partition();
        let (sealed, open) = (partition.sealed().totals(), partition.open_state());
        let stats = PartitionStats {
            events: sealed.events + open.events,
            bytes: sealed.disk_bytes + open.file_bytes,
            oldest: sealed.oldest.into_iter().chain(open.oldest).min(),
            gaps: sealed.gaps,
        };
        self.context
            .metrics
            .set_partition_stats(partition.id(), stats);
        let watermark = Watermark::Warm {
            partition: partition.id(),
            committed: partition.next_seq() - 1,
            sealed: sealed.sealed,
            events: stats.events,
            bytes: stats.bytes,
            oldest_at: stats.oldest,
            flight_url: self.context.flight_url.clone(),
        };
        self.watermarks.send_if_modified(|last| {
            let changed = last.as_ref() != Some(&watermark);
            *last = Some(watermark);
            changed
        });
    }

    fn partition(&self) -> &Partition {
        self.partition
            .as_ref()
            .expect("no blocking thread has it now")
    }
}
