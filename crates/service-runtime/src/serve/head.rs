//! How much of the heads of requests is in memory before they are whole: few large ones at a time.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most bytes of a head: cursors of all partitions fit into a query. It takes up to twice as much memory.
pub(super) const MAX_HEAD_BYTES: usize = 64 << 10;
/// So much of a head is read in any case; almost all have less.
pub(super) const SMALL_HEAD_BYTES: usize = 8 << 10;
/// Heads of more bytes that are read at the same time, of all connections; others wait their turn, no longer than
/// for the rest of a head.
const LARGE_HEADS: usize = 256;

/// The turns of large heads.
pub(super) fn large_heads() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(LARGE_HEADS))
}

/// What a connection has read of its next request.
#[derive(Debug, Default)]
pub(super) struct Head {
    any_parsed: AtomicBool,
    /// A request is under way: what is read is its body.
    is_parsed: AtomicBool,
    bytes: AtomicUsize,
    turn: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Head {
    /// Whether the connection has had a request.
    pub(super) fn any_parsed(&self) -> bool {
        self.any_parsed.load(Ordering::Relaxed)
    }

    /// The head is whole, and no longer held.
    pub(super) fn parsed(&self) {
        self.any_parsed.store(true, Ordering::Relaxed);
        self.is_parsed.store(true, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        drop(self.turn().take());
    }

    /// Whether what is read now belongs to a head.
    pub(super) fn is_open(&self) -> bool {
        !self.is_parsed.load(Ordering::Relaxed)
    }

    /// Whether the head must have a turn before more of it is read.
    pub(super) fn needs_turn(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= SMALL_HEAD_BYTES && self.turn().is_none()
    }

    pub(super) fn take_turn(&self, turn: OwnedSemaphorePermit) {
        *self.turn() = Some(turn);
    }

    /// Notes that `bytes` more of it were read.
    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn turn(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.turn
            .lock()
            .expect("nothing panics while it holds this")
    }
}

/// The body of an answer. With its end the next head begins.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    head: Arc<Head>,
}

impl Answer {
    pub(super) fn new(body: Body, head: Arc<Head>) -> Self {
        Self { body, head }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.head.is_parsed.store(false, Ordering::Relaxed);
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
