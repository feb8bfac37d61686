//! The loop of one partition: read a batch of the log, write it to the hot tier, repeat.
//!
//! The cursor is stored in the hot tier and moves in the transaction that appends the events, so no message
//! is acknowledged. A writer that died, or that another writer overtook, resumes behind the cursor.

use std::time::Duration;

use anyhow::Context as _;
use event::{PartitionId, Seq};
use event_log::{
    FloodGuard, HALT_RETRY_INTERVAL, Halt, LATCH_CHECK_INTERVAL, LogMessage, Watermark,
};
use futures::{
    StreamExt as _,
    stream::{BoxStream, ReadyChunks},
};
use hot_tier::{Appended, HotCursor};
use service_runtime::{Backoff, Linger, propagation};
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info, info_span, warn};

use crate::{
    batch::{self, Batch, ReadMessage, batch_of},
    shared::{DependencyError, Shared, Signals},
};

/// Most messages in one batch: at most 16,000 events, and 8 MiB before compression.
const MAX_BATCH_MESSAGES: usize = 32;

/// The pause after a batch that was not full, so that under load an entry of the tier holds more events.
const BATCH_LINGER: Linger = Linger {
    times: 2,
    max: Duration::from_millis(50),
};

/// The messages of the log as they become available, at most [`MAX_BATCH_MESSAGES`] at once.
type MessageBatches = ReadyChunks<BoxStream<'static, event_log::Result<LogMessage>>>;

/// The task that copies one partition of the log to the hot tier.
pub(crate) struct Worker {
    pub(crate) shared: Shared,
    pub(crate) signals: Signals,
    pub(crate) partition: PartitionId,
}

/// The result of writing the messages of one batch.
enum WriteResult {
    /// The tier has everything up to this sequence: continue behind it.
    Through(Seq),
    /// The cursor is behind the batch: read the log again from there.
    CursorWentBack,
}

impl Worker {
    pub(crate) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let span = info_span!("partition", partition = %self.partition);
        let result = self.follow(&shutdown).instrument(span).await;
        if shutdown.is_cancelled() {
            // An error after shutdown is that of an interrupted retry, not a failure.
            return Ok(());
        }
        result
    }

    async fn follow(&self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let mut guard = FloodGuard::new(self.shared.accept_dead_letters);
        let mut is_latched = false;
        while !shutdown.is_cancelled() {
            let cursor = self
                .ensure_cursor(shutdown)
                .await
                .context("read the cursor")?;
            info!(
                last = cursor.last,
                floor = cursor.floor,
                "following the log"
            );
            self.signals.changed.notify_one();
            let copied = match self.open_log(cursor.last, shutdown).await {
                Ok(messages) => {
                    if std::mem::take(&mut is_latched) {
                        self.shared.halts.set(self.partition, None);
                    }
                    self.copy(messages, cursor.last, &mut guard, shutdown).await
                }
                Err(error) => Err(error),
            };
            let Err(error) = copied else {
                continue;
            };
            let cause = error.downcast_ref::<event_log::Error>();
            let Some(cause) = cause.filter(|cause| cause.is_divergence()) else {
                return Err(error);
            };
            // It is not the log that was copied before: nothing is, until a person has restored it.
            is_latched = true;
            (self.shared.halts).set(self.partition, Some(cause.to_string()));
            let pause = time::sleep(LATCH_CHECK_INTERVAL);
            shutdown.run_until_cancelled(pause).await;
        }
        Ok(())
    }

    /// Copies `messages`, which are behind the cursor's `last`, until they are to be read again.
    async fn copy(
        &self,
        mut messages: MessageBatches,
        mut last: Seq,
        guard: &mut FloodGuard,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            let batch = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = self.signals.lost.notified() => return Ok(()),
                batch = messages.next() => batch.context("the log ended")?,
            };
            let batch: Result<Vec<_>, _> = batch.into_iter().collect();
            let batch = batch.context("read the log")?;
            let (full, began) = (batch.len() == MAX_BATCH_MESSAGES, Instant::now());
            let read = batch::read(batch, guard);
            self.shared.metrics.dead_letters.inc_by(read.dead_letters);
            match self.write_all(read.messages, last, shutdown).await? {
                WriteResult::Through(seq) => last = seq,
                WriteResult::CursorWentBack => return Ok(()),
            }
            if self.wait_while_halted(read.halt, shutdown).await {
                return Ok(());
            }
            if !full {
                BATCH_LINGER.after(began).await;
            }
        }
    }

    /// Reports what stops this partition, if anything does, and waits before the next attempt.
    async fn wait_while_halted(&self, halt: Option<Halt>, shutdown: &CancellationToken) -> bool {
        let reason = halt.map(|halt| halt.to_string());
        self.shared.halts.set(self.partition, reason);
        if halt.is_some() {
            let pause = time::sleep(HALT_RETRY_INTERVAL);
            shutdown.run_until_cancelled(pause).await;
        }
        halt.is_some()
    }

    /// Reads the cursor; creates it at [`Self::initial_floor`] when the tier has none.
    async fn ensure_cursor(
        &self,
        shutdown: &CancellationToken,
    ) -> Result<HotCursor, DependencyError> {
        let ensure = async || {
            let (hot, partition) = (&self.shared.hot, self.partition);
            if let Some(cursor) = hot.cursor(partition).await? {
                return Ok(cursor);
            }
            let floor = self.initial_floor().await?;
            warn!(floor, "hot tier is empty, filling it from the log");
            Ok(hot.start(partition, floor).await?)
        };
        Backoff::default()
            .retry(
                "read the cursor",
                shutdown,
                DependencyError::is_transient,
                ensure,
            )
            .await
    }

    /// The sequence from which an empty tier is filled: behind the last one sealed in the warm tier, else
    /// the first of the log.
    async fn initial_floor(&self) -> Result<Seq, DependencyError> {
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

    /// Opens the log behind the sequence `last`.
    async fn open_log(
        &self,
        last: Seq,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<MessageBatches> {
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

    /// Writes those of `messages` that are behind `last`, up to which the tier has everything.
    async fn write_all(
        &self,
        mut messages: Vec<ReadMessage>,
        mut last: Seq,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<WriteResult> {
        loop {
            messages.retain(|message| message.seq > last);
            let run = consecutive(&messages);
            let Some(batch) = batch_of(run) else {
                return Ok(WriteResult::Through(last));
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
            // Another writer has moved the cursor, or the reply to an append was lost, or the tier was.
            let cursor = self
                .ensure_cursor(shutdown)
                .await
                .context("read the cursor")?;
            debug!(expected = last, found = cursor.last, "cursor was moved");
            if cursor.last < last {
                return Ok(WriteResult::CursorWentBack);
            }
            last = cursor.last;
        }
    }

    /// Writes one batch, retrying while the tier is unreachable or full.
    async fn write(
        &self,
        batch: &Batch,
        last: Seq,
        shutdown: &CancellationToken,
    ) -> Result<Appended, hot_tier::Error> {
        let timer = self.shared.metrics.write_seconds.start_timer();
        let write = || self.try_write(batch, last);
        let appended = Backoff::default()
            .retry("append", shutdown, hot_tier::Error::is_transient, write)
            .await?;
        timer.observe_duration();
        if appended == Appended::Ok {
            self.shared.metrics.moved.inc_by(batch.events);
            self.signals.changed.notify_one();
            debug!(
                last = batch.last,
                packs = batch.packs.len(),
                "appended batch"
            );
        }
        Ok(appended)
    }

    /// Appends `batch`; first skips the sequences between `last` and the batch that the log has purged.
    async fn try_write(&self, batch: &Batch, last: Seq) -> hot_tier::Result<Appended> {
        let (hot, partition) = (&self.shared.hot, self.partition);
        let before = batch.first - 1;
        if before != last {
            warn!(
                last,
                first = batch.first,
                "log was purged before it was copied, skipping"
            );
            let skipped = hot.skip(partition, last, batch.first).await?;
            if skipped == Appended::Gap {
                return Ok(Appended::Gap);
            }
        }
        hot.append(partition, before, batch.last, &batch.packs)
            .await
    }
}

/// The longest prefix of `messages` with consecutive sequences: all of them, unless the log was purged.
fn consecutive(messages: &[ReadMessage]) -> &[ReadMessage] {
    messages
        .chunk_by(|one, next| one.seq + 1 == next.seq)
        .next()
        .unwrap_or_default()
}
