//! The tail of a tenant: all its events in the order of the log, read from the log itself, partition
//! by partition.

mod cursor;
mod rows;

use std::io;

use bytes::Bytes;
use event::{PartitionId, Position, Seq, SeqRange, TenantId};
use futures::{Stream, future, stream};
use service_runtime::Reservation;
use tokio::sync::watch;

use self::cursor::TenantCursor;
use super::{
    HEARTBEAT_INTERVAL, RecentEvents, STREAM_END, STREAM_START, TAIL_RETRY_PAUSE, event_text,
    missing_text, row_text,
};
use crate::{
    error::{QueryError, Result},
    memory::{MAX_ROW_BYTES, MEMORY_WAIT, held, row_bytes},
    params::TypeFilter,
    rows::SourceError,
    service::{QueryService, Shared},
    slots::TailSlot,
};

/// Messages of the log that are read for one text; bounds the text's size.
const MESSAGES_PER_READ: Seq = 16;
/// Bytes by which the text of a cursor may grow with one event: an offset with its comma.
const MAX_OFFSET_BYTES: usize = 32;

/// Returns the cursor to begin at: the one in `after`; or the end of the log, in the partitions of the
/// positions in `after` behind these.
///
/// # Errors
///
/// `after` is neither a cursor nor a list of positions, or the log does not answer.
pub(crate) async fn start(service: &QueryService, after: Option<&str>) -> Result<TenantCursor> {
    let count = usize::from(service.partitions.get());
    if let Some(cursor) = after.and_then(|after| TenantCursor::parse(after, count)) {
        return Ok(cursor);
    }
    let ends = service
        .partitions
        .all()
        .map(|partition| service.log_end(partition));
    let mut offsets = future::try_join_all(ends).await?;
    for text in after.iter().flat_map(|after| after.split(',')) {
        let position: Position = text.parse()?;
        let partition = position.partition;
        let offset = offsets.get_mut(usize::from(partition.partition));
        let offset = offset.filter(|_| partition == PartitionId::first(partition.partition));
        *offset.ok_or(event::ParsePositionError)? = position.offset();
    }
    Ok(TenantCursor(offsets))
}

impl QueryService {
    /// Returns the offset behind which only later events are.
    async fn log_end(&self, partition: PartitionId) -> Result<(Seq, u16)> {
        let last = self.sources.log.last_seq(partition).await.map_err(|_| {
            QueryError::unavailable("log_unavailable", "the event log does not answer now")
        })?;
        Ok((last, u16::MAX))
    }
}

/// Returns the server-sent events of a whole tenant behind `cursor`.
pub(crate) fn tenant(
    service: Shared,
    tenant: TenantId,
    types: TypeFilter,
    cursor: TenantCursor,
    slot: TailSlot,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let signals = service
        .partitions
        .all()
        .map(|partition| service.live.follow(partition, None));
    let tail = TenantTail {
        signals: signals.collect(),
        ready: Vec::new(),
        service,
        tenant,
        types,
        cursor,
        recent: RecentEvents::default(),
        has_started: false,
        slot: Some(slot),
    };
    stream::unfold(tail, async |mut tail| {
        let chunk = tail.next().await?;
        Some((Ok(chunk), tail))
    })
}

/// The tail of one client, which reads behind `cursor`.
struct TenantTail {
    service: Shared,
    tenant: TenantId,
    types: TypeFilter,
    cursor: TenantCursor,
    /// By partition.
    signals: Vec<watch::Receiver<Seq>>,
    /// Indexes of the partitions that may have new events.
    ready: Vec<usize>,
    recent: RecentEvents,
    has_started: bool,
    /// `None` when the stream has ended.
    slot: Option<TailSlot>,
}

impl TenantTail {
    /// Returns the next text for the client; `None` ends the connection.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.has_started, true) {
            self.ready = (0..self.signals.len()).rev().collect();
            return Some(Bytes::from_static(STREAM_START.as_bytes()));
        }
        loop {
            if self.service.shutdown.is_cancelled() {
                return None;
            }
            if self.slot.as_ref()?.is_ended() {
                self.slot = None;
                return Some(Bytes::from_static(STREAM_END.as_bytes()));
            }
            let Some(index) = self.ready.pop() else {
                if self.wait().await {
                    continue;
                }
                self.ready = (0..self.signals.len()).rev().collect();
                return Some(Bytes::from_static(b":\n\n"));
            };
            match self.read(index).await {
                Ok((text, _)) if text.is_empty() => {}
                Ok((text, memory)) => {
                    self.slot.as_ref()?.note_event();
                    return Some(held(text.into_bytes(), memory));
                }
                Err(error) => {
                    tracing::debug!(?error, index, "partition not read, will retry");
                    tokio::time::sleep(TAIL_RETRY_PAUSE).await;
                    self.read_later(index);
                }
            }
        }
    }

    /// Makes a partition that could not be read ready again, behind those that have new events meanwhile.
    fn read_later(&mut self, index: usize) {
        let signals = self.signals.iter().enumerate();
        let changed = signals.filter(|(_, signal)| signal.has_changed().unwrap_or(true));
        self.ready.extend(changed.map(|(own, _)| own));
        self.ready.sort_unstable();
        self.ready.dedup();
        self.ready.retain(|own| *own != index);
        self.ready.insert(0, index);
    }

    /// Waits until a partition may have new events; `false` when it is time for a heartbeat.
    async fn wait(&mut self) -> bool {
        let shutdown = self.service.shutdown.clone();
        let Some(slot) = &self.slot else {
            return true;
        };
        let changed = self
            .signals
            .iter_mut()
            .map(|signal| Box::pin(signal.changed()));
        tokio::select! {
            () = shutdown.cancelled() => true,
            () = slot.ended() => true,
            (result, index, _) = future::select_all(changed) => {
                if result.is_err() {
                    tokio::time::sleep(TAIL_RETRY_PAUSE).await;
                }
                self.ready.push(index);
                true
            }
            () = tokio::time::sleep(HEARTBEAT_INTERVAL) => false,
        }
    }

    /// Returns the events of the next messages of one partition as text. The partition stays `ready`
    /// when there are more.
    async fn read(&mut self, index: usize) -> Result<(String, Reservation), SourceError> {
        self.signals[index].borrow_and_update();
        let partition = PartitionId::first(u16::try_from(index).expect("at most 1024"));
        let sources = &self.service.sources;
        let state = sources.log_state(partition, false).await;
        let unavailable =
            || SourceError::Unavailable(anyhow::anyhow!("the event log does not answer"));
        let (first, last) = state.ok_or_else(unavailable)?;
        let (seq, idx) = self.cursor.0[index];
        let mut out = String::new();
        // The frame of the cursor itself may have more events behind it.
        let mut lo = match idx {
            u16::MAX => seq.saturating_add(1),
            // Sequences begin at 1.
            _ => seq.max(1),
        };
        if lo < first && first <= last {
            out.push_str(&missing_text(partition, lo, first - 1));
            lo = first;
        }
        let hi = last.min(lo.saturating_add(MESSAGES_PER_READ - 1));
        let pool = &sources.memory.tails;
        let Some(range) = SeqRange::new(lo, hi) else {
            return Ok((out, pool.empty()));
        };
        // Before anything is reserved: many may wait.
        let dedup = sources.wait_for_dedup(partition, lo - 1, hi).await;
        let memory = pool.reserve(MAX_ROW_BYTES, MEMORY_WAIT).await;
        let mut memory = memory.map_err(|full| SourceError::Unavailable(full.into()))?;
        let (read, hi) = self.read_log(partition, range).await?;
        for range in read.unreadable.ranges() {
            out.push_str(&missing_text(partition, range.lo, range.hi));
        }
        let range = SeqRange { lo, hi };
        let rows = self.new_rows(index, read.rows, range, &dedup).await;
        let cursor_bytes = self.cursor.to_string().len() + MAX_OFFSET_BYTES;
        let bytes = rows.iter().map(|row| row_bytes(row) + cursor_bytes).sum();
        let grown = memory.grow_to(bytes, MEMORY_WAIT).await;
        grown.map_err(|full| SourceError::Unavailable(full.into()))?;
        for row in rows {
            if self.recent.add(&row) {
                self.cursor.0[index] = row.position.offset();
                event_text(&self.cursor.to_string(), &row_text(&row), &mut out);
            }
        }
        self.cursor.0[index] = (hi, u16::MAX);
        if hi < last {
            self.ready.push(index);
        }
        Ok((out, memory))
    }
}
