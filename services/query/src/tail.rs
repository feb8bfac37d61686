//! Following: history from any position, then live, through the one read path, so there is no
//! seam between the two.
//!
//! Subscribe, read, send; when there is nothing, wait for a signal and read again. Nothing runs
//! but what the client's connection pulls: when it goes, everything goes.

mod client;
mod tenant;

use std::{io, time::Duration};

use bytes::Bytes;
use event::{Seq, StoredEvent};
use event_proto::json;
use futures::{Stream, stream};
use serde_json::json;
use tokio::{sync::watch, time::Instant};

pub(crate) use client::Slot;
use client::{Recent, event_text};
pub(crate) use tenant::{start, tenant};

use crate::{
    error::Problem,
    format,
    read::{Missing, Page},
    rows::Wanted,
    service::Shared,
};

/// A comment this often tells both ends that the other is there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Rows of one read.
const PAGE: usize = 500;
/// How long history that cannot be read now is waited for before it is reported as missing.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(250);
/// How long a client should wait before it comes back, in milliseconds.
const HELLO: &str = "retry: 1000\n: following\n\n";

/// Server-sent events of one conversation behind `wanted.after`.
pub(crate) fn conversation(
    service: Shared,
    wanted: Wanted,
    slot: Slot,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let topic = (wanted.tenant.clone(), wanted.conversation.clone());
    let signal = service.live.follow(wanted.partition, Some(topic));
    let follow = Follow {
        service,
        wanted,
        signal,
        recent: Recent::default(),
        greeted: false,
        incomplete_since: None,
        _slot: slot,
    };
    stream::unfold(follow, async |mut follow| {
        let chunk = follow.next().await?;
        Some((Ok(chunk), follow))
    })
}

struct Follow {
    service: Shared,
    wanted: Wanted,
    signal: watch::Receiver<Seq>,
    recent: Recent,
    greeted: bool,
    incomplete_since: Option<Instant>,
    _slot: Slot,
}

impl Follow {
    /// The next text for the client; `None` ends the connection.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Bytes::from_static(HELLO.as_bytes()));
        }
        loop {
            if self.service.shutdown.is_cancelled() {
                return None;
            }
            // Before the read: what comes while it reads changes the signal again.
            self.signal.borrow_and_update();
            let read = self.service.sources.read(self.wanted.clone(), PAGE);
            let text = match self.service.bounded(read).await {
                Ok(page) => self.take(page).await,
                Err(Problem::Unavailable { .. }) => {
                    tokio::time::sleep(PAUSE).await;
                    None
                }
                Err(problem) => {
                    // The client comes back to where it was.
                    tracing::error!(?problem, "tail ends");
                    return None;
                }
            };
            if text.is_some() {
                return text;
            }
            if self.incomplete_since.is_none() && !self.wait().await {
                return Some(Bytes::from_static(b":\n\n"));
            }
        }
    }

    /// Until there may be something new; `false` after a while without.
    async fn wait(&mut self) -> bool {
        tokio::select! {
            () = self.service.shutdown.cancelled() => true,
            changed = self.signal.changed() => {
                if changed.is_err() {
                    tokio::time::sleep(PAUSE).await;
                }
                true
            }
            () = tokio::time::sleep(HEARTBEAT) => false,
        }
    }

    async fn take(&mut self, page: Page) -> Option<Bytes> {
        let mut out = String::new();
        if !self.may_send(&page, &mut out) {
            tokio::time::sleep(PAUSE).await;
            return None;
        }
        for row in &page.rows {
            if self.recent.is_new(row) {
                event_text(&row.position.to_string(), &row_text(row), &mut out);
            }
        }
        let last_row = page.rows.last().map(|row| row.position.offset());
        let read_up_to = match page.next {
            Some(next) => Some(next.offset()),
            None => page.last.map(|last| (last, u16::MAX)),
        };
        let more = page.next.is_some();
        self.wanted.after = self.wanted.after.max(last_row).max(read_up_to);
        if out.is_empty() && more {
            // Only rows that nobody asked for: look on without waiting.
            self.signal.mark_changed();
        }
        (!out.is_empty()).then(|| out.into())
    }

    /// Whether what was read may be sent: whole, or known to stay incomplete, and then said so.
    fn may_send(&mut self, page: &Page, out: &mut String) -> bool {
        let Missing { ranges, from } = &page.missing;
        if page.missing.is_empty() {
            self.incomplete_since = None;
            return true;
        }
        let since = *self.incomplete_since.get_or_insert_with(Instant::now);
        // While the log says nothing, nothing is sent: it will come.
        if from.is_some() || since.elapsed() < PATIENCE {
            return false;
        }
        for range in ranges.ranges() {
            let partition = self.wanted.partition.to_string();
            let data = json!({"partition": partition, "from": range.lo, "to": range.hi});
            out.push_str(&format!("event: missing\ndata: {data}\n\n"));
        }
        self.incomplete_since = None;
        true
    }
}

fn row_text(row: &StoredEvent) -> String {
    let mut text = Vec::new();
    json::write(row, &mut text);
    format::on_one_line(&mut text);
    String::from_utf8(text).expect("JSON is UTF-8")
}
