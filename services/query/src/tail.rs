//! Tails: history from any position, then live events, through the same read path as pages, so that
//! nothing is lost or repeated between the two.
//!
//! A tail subscribes, reads and sends; when there is nothing, it waits for a signal and reads again.
//! It is a stream that the client's connection polls, so it ends when the client disconnects.

mod client;
mod tenant;

use std::{io, time::Duration};

use bytes::Bytes;
use event::{PartitionId, Seq, StoredEvent};
use event_proto::json;
use futures::{Stream, stream};
use serde_json::json;
use tokio::{sync::watch, time::Instant};

use client::{RecentEvents, event_text};
pub(crate) use tenant::{start, tenant};

use crate::{
    error::QueryError,
    format,
    memory::{encoded_bytes, held},
    read::{Missing, Page},
    rows::ReadRequest,
    service::Shared,
    slots::TailSlot,
};

/// Interval of the comments by which both ends see that the other is alive.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// Rows of one read.
const TAIL_PAGE_ROWS: usize = 500;
/// Time after which history that cannot be read is reported as missing.
const MISSING_HISTORY_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a read that failed or is incomplete.
const TAIL_RETRY_PAUSE: Duration = Duration::from_millis(250);
/// First text of a stream; `retry` is the time in milliseconds after which a client should reconnect.
const STREAM_START: &str = "retry: 1000\n: following\n\n";
/// Last text of a stream whose slot another client needs.
const STREAM_END: &str = ": ended for another client, because all --max-tail-clients are in use; reconnect \
                          with Last-Event-ID\n\n";

/// Returns the server-sent events of one conversation behind `request.after`.
pub(crate) fn conversation(
    service: Shared,
    request: ReadRequest,
    slot: TailSlot,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let topic = (request.tenant.clone(), request.conversation.clone());
    let signal = service.live.follow(request.partition, Some(topic));
    let tail = ConversationTail {
        service,
        request,
        signal,
        recent: RecentEvents::default(),
        has_started: false,
        incomplete_since: None,
        slot: Some(slot),
    };
    stream::unfold(tail, async |mut tail| {
        let chunk = tail.next().await?;
        Some((Ok(chunk), tail))
    })
}

/// The tail of one client, which reads behind `request.after`.
struct ConversationTail {
    service: Shared,
    request: ReadRequest,
    signal: watch::Receiver<Seq>,
    recent: RecentEvents,
    has_started: bool,
    /// Since when every read has lacked something.
    incomplete_since: Option<Instant>,
    /// `None` when the stream has ended.
    slot: Option<TailSlot>,
}

impl ConversationTail {
    /// Returns the next text for the client; `None` ends the connection.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.has_started, true) {
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
            // Reset before the read: events that come during the read change the signal again.
            self.signal.borrow_and_update();
            let sources = &self.service.sources;
            let read = sources.read_tail(self.request.clone(), TAIL_PAGE_ROWS);
            let text = match self.service.bounded(read).await {
                Ok((page, memory)) => {
                    let text = self.send_page(page).await;
                    text.map(|text| held(text.into_bytes(), memory))
                }
                Err(QueryError::Unavailable { .. }) => {
                    tokio::time::sleep(TAIL_RETRY_PAUSE).await;
                    self.signal.mark_changed();
                    None
                }
                Err(error) => {
                    // The client reconnects and resumes behind the last event that it got.
                    tracing::error!(?error, "tail failed");
                    return None;
                }
            };
            if text.is_some() {
                self.slot.as_ref()?.note_event();
                return text;
            }
            if self.incomplete_since.is_none() && !self.wait().await {
                return Some(Bytes::from_static(b":\n\n"));
            }
        }
    }

    /// Waits until there may be new events; `false` when it is time for a heartbeat.
    async fn wait(&mut self) -> bool {
        let Some(slot) = &self.slot else {
            return true;
        };
        tokio::select! {
            () = self.service.shutdown.cancelled() => true,
            () = slot.ended() => true,
            changed = self.signal.changed() => {
                if changed.is_err() {
                    tokio::time::sleep(TAIL_RETRY_PAUSE).await;
                }
                true
            }
            () = tokio::time::sleep(HEARTBEAT_INTERVAL) => false,
        }
    }

    /// Turns `page` into text for the client and advances behind it; `None` when there is nothing to
    /// send.
    async fn send_page(&mut self, page: Page) -> Option<String> {
        let bytes = page.rows.iter().map(encoded_bytes);
        let mut out = String::with_capacity(bytes.sum());
        if !self.may_send(&page, &mut out) {
            tokio::time::sleep(TAIL_RETRY_PAUSE).await;
            return None;
        }
        for range in page.dead_letters.ranges() {
            out.push_str(&missing_text(self.request.partition, range.lo, range.hi));
        }
        for row in &page.rows {
            if self.recent.add(row) {
                event_text(&row.position.to_string(), &row_text(row), &mut out);
            }
        }
        let last_row = page.rows.last().map(|row| row.position.offset());
        let read_up_to = match page.next {
            Some(next) => Some(next.offset()),
            None => page.log_last.map(|last| (last, u16::MAX)),
        };
        let more = page.next.is_some();
        self.request.after = self.request.after.max(last_row).max(read_up_to);
        if out.is_empty() && more {
            // No row matched, but there are more: read on without waiting for a signal.
            self.signal.mark_changed();
        }
        (!out.is_empty()).then_some(out)
    }

    /// Whether `page` may be sent: it is complete, or has been incomplete for so long that its gaps are
    /// reported in `out`.
    fn may_send(&mut self, page: &Page, out: &mut String) -> bool {
        let Missing { ranges, open_from } = &page.missing;
        if page.missing.is_empty() {
            self.incomplete_since = None;
            return true;
        }
        let since = *self.incomplete_since.get_or_insert_with(Instant::now);
        // Without an answer of the log the gap has no end: wait for the log.
        if open_from.is_some() || since.elapsed() < MISSING_HISTORY_TIMEOUT {
            return false;
        }
        for range in ranges.ranges() {
            out.push_str(&missing_text(self.request.partition, range.lo, range.hi));
        }
        self.incomplete_since = None;
        true
    }
}

/// The server-sent event that says that a range could not be read.
fn missing_text(partition: PartitionId, from: Seq, to: Seq) -> String {
    let data = json!({"partition": partition.to_string(), "from": from, "to": to});
    format!("event: missing\ndata: {data}\n\n")
}

fn row_text(row: &StoredEvent) -> String {
    let mut text = Vec::new();
    json::write(row, &mut text);
    format::join_lines(&mut text);
    String::from_utf8(text).expect("JSON is UTF-8")
}
