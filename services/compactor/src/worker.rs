//! The worker of one partition: reads the log behind what is sealed, appends, and seals in time.

mod chunks;
mod dead_letters;
mod log;
mod lost_ids;
mod seal;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use event::Seq;
use event_log::{FloodGuard, LogMessage, Watermark};
use service_runtime::{Linger, propagation};
use tokio::{sync::watch, task, time};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use warm_tier::Partition;

use self::{chunks::MAX_CHUNK_MESSAGES, seal::RunningSeal};
use crate::{
    context::WorkerContext,
    decode::{self, Batch},
    duplicates::{Report, Reporter},
};

/// Time between two checks whether to seal or to report duplicates again.
const TICK_INTERVAL: Duration = Duration::from_millis(200);
/// The wait after a chunk that was not full, so that under load a batch has more events.
const LINGER: Linger = Linger {
    times: 1,
    max: Duration::from_millis(50),
};
/// Time between two notes of how far the log was read.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);
/// Most spans that a batch's span is linked to: no reason but to bound its size.
const MAX_LINKS: usize = 32;

/// The writer of one partition.
pub(crate) struct Worker {
    context: WorkerContext,
    /// `None` only while a blocking thread has it.
    partition: Option<Partition>,
    duplicates: Option<Reporter>,
    watermarks: watch::Sender<Option<Watermark>>,
    /// When the first batch was appended to the open part.
    open_since: Option<Instant>,
    seal: Option<RunningSeal>,
    noted_at: Instant,
    /// `None` only while a blocking thread has it.
    flood_guard: Option<FloodGuard>,
    /// When to read on, while a message of the log stops this worker, or the log is another one.
    halted_until: Option<time::Instant>,
    /// How often the last seal has failed for memory, and when to try again.
    seal_retry: Option<(u32, Instant)>,
    /// The log is not the one that was read before.
    is_latched: bool,
}

impl Worker {
    pub(crate) fn new(
        context: WorkerContext,
        partition: Partition,
        duplicates: Option<Reporter>,
        watermarks: watch::Sender<Option<Watermark>>,
    ) -> Self {
        Self {
            flood_guard: Some(FloodGuard::new(context.accept_dead_letters)),
            halted_until: None,
            seal_retry: None,
            is_latched: false,
            context,
            partition: Some(partition),
            duplicates,
            watermarks,
            open_since: None,
            seal: None,
            noted_at: Instant::now(),
        }
    }

    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        self.check_log().await.context("compare with the log")?;
        self.resume_flood_guard().await?;
        self.publish();
        if !self.recover_ids(&shutdown).await? {
            return Ok(());
        }
        let mut chunks = self.open_log().await?;
        let mut ticks = time::interval(TICK_INTERVAL);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            let halted = self.halted_until;
            let may_append = halted.is_none() && self.may_append();
            let chunk = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                _ = ticks.tick() => None,
                () = sleep_until(halted), if halted.is_some() => {
                    self.halted_until = None;
                    chunks = self.open_log().await?;
                    continue;
                }
                sealed = seal::finished(&mut self.seal), if self.seal.is_some() => {
                    self.finish_seal(sealed).await?;
                    continue;
                }
                chunk = chunks.next(), if may_append => Some(chunk.context("event log closed")?),
            };
            match chunk {
                Some(chunk) => {
                    let (full, began) = (chunk.len() == MAX_CHUNK_MESSAGES, time::Instant::now());
                    match chunk.into_iter().collect::<Result<Vec<_>, _>>() {
                        Ok(chunk) => self.append(chunk, &shutdown).await?,
                        Err(error) if error.is_divergence() => self.latch(&error),
                        Err(error) => return Err(error).context("read the log"),
                    }
                    if !full {
                        LINGER.after(began).await;
                    }
                }
                None => self.tick().await?,
            }
        }
    }

    fn may_append(&self) -> bool {
        let partition = self.partition().id();
        *self.context.appends_allowed.borrow() && !self.context.open_memory.is_full(partition)
    }

    async fn append(
        &mut self,
        messages: Vec<LogMessage>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let span = tracing::info_span!(
            "append",
            partition = %self.partition().id(),
            messages = messages.len(),
        );
        for message in messages.iter().take(MAX_LINKS) {
            let headers = message.headers.iter();
            propagation::link_from(&span, headers.map(|(name, value)| (&**name, &**value)));
        }
        self.append_messages(messages, shutdown)
            .instrument(span)
            .await?;
        self.tick().await
    }

    async fn append_messages(
        &mut self,
        messages: Vec<LogMessage>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut guard = self.flood_guard.take().expect("only this takes it");
        let decode = move || (decode::batches(messages, &mut guard), guard);
        let (decoded, guard) = task::spawn_blocking(decode).await?;
        self.flood_guard = Some(guard);
        for batch in decoded.batches {
            if !self
                .store_dead_letters(&batch.dead_letters, shutdown)
                .await?
            {
                return Ok(());
            }
            match self.append_batch(batch).await {
                Err(error) if seal::is_out_of_memory(&error) => {
                    self.halt_for_memory(&error);
                    return Ok(());
                }
                appended => appended.context("append to warm")?,
            }
        }
        self.set_halt(decoded.halt);
        Ok(())
    }

    async fn append_batch(&mut self, batch: Batch) -> anyhow::Result<()> {
        let frames = batch.frames;
        let (range, dead) = (frames.range, frames.dead_letters.len() as u64);
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
        tracing::debug!(
            stored = appended.stored,
            dropped,
            through = range.hi,
            "appended"
        );
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

    /// Starts a seal if it is time, and reports duplicates again if that was requested.
    async fn tick(&mut self) -> anyhow::Result<()> {
        if self.is_time_to_seal() {
            self.start_seal();
        }
        if self.noted_at.elapsed() >= NOTE_INTERVAL {
            self.noted_at = Instant::now();
            self.blocking(Partition::note_log_end).await?;
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

    /// Runs `work` on a blocking thread. After an error that is not of memory the process must end.
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

    fn partition(&self) -> &Partition {
        self.partition
            .as_ref()
            .expect("no blocking thread has it now")
    }
}

/// Sleeps until `time`; without one, forever.
async fn sleep_until(time: Option<time::Instant>) {
    match time {
        Some(time) => time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
