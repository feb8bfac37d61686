//! The encoded answer of a statement, on its way from the executor to the client.

use std::{io, pin::pin, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::Instant,
};

use crate::slots::Slot;

/// Chunks of an answer that wait for its client: what it does not read stays with the executor.
const QUEUED_CHUNKS: usize = 2;
/// Longest wait for a chunk of an answer, which the executor has whole before it sends the first.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that a client may take to read an answer, which keeps a process and a slot until then.
const ANSWER_TIME: Duration = Duration::from_secs(600);

/// The encoded answer of a statement. Dropping it ends the statement.
pub(crate) struct EncodedAnswer {
    /// An empty chunk is the end.
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    /// Sent when the queue is full; dropped when it has all that is left.
    waits: oneshot::Receiver<()>,
    ended: bool,
    until: Instant,
    forward: Option<AbortHandle>,
}

impl Drop for EncodedAnswer {
    fn drop(&mut self) {
        if let Some(forward) = &self.forward {
            forward.abort();
        }
    }
}

impl EncodedAnswer {
    /// The answer of `chunks`. `slot` is released when the executor has sent all, or the answer is dropped.
    pub(super) fn new(
        chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        slot: Slot,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUED_CHUNKS);
        let (waiting, waits) = oneshot::channel();
        let forward = tokio::spawn(forward(chunks, sender, waiting, slot));
        Self {
            receiver,
            waits,
            ended: false,
            until: Instant::now() + ANSWER_TIME,
            forward: Some(forward.abort_handle()),
        }
    }

    /// Whether the answer is too long to be taken from the executor before the client reads it.
    pub(crate) async fn waits_for_client(&mut self) -> bool {
        (&mut self.waits).await.is_ok()
    }

    /// Returns the next chunk, or an error when the answer is cut off; `None` at its end.
    pub(crate) async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.ended {
            return None;
        }
        if Instant::now() >= self.until {
            self.ended = true;
            return Some(Err(io::Error::other("its client reads it too slowly")));
        }
        let chunk = match tokio::time::timeout(CHUNK_TIMEOUT, self.receiver.recv()).await {
            Ok(chunk) => chunk
                .unwrap_or_else(|| Err(io::Error::other("the statement ended before its answer"))),
            Err(_) => Err(io::Error::other("its executor does not send the answer")),
        };
        self.ended = !matches!(&chunk, Ok(chunk) if !chunk.is_empty());
        match chunk {
            Ok(chunk) if chunk.is_empty() => None,
            chunk => Some(chunk),
        }
    }
}

/// Passes `chunks` on until the client has all of them or has left. `waiting` is sent when it must wait for
/// the client.
async fn forward(
    chunks: impl Stream<Item = io::Result<Bytes>>,
    to: mpsc::Sender<io::Result<Bytes>>,
    waiting: oneshot::Sender<()>,
    slot: Slot,
) {
    let mut waiting = Some(waiting);
    let end = futures::stream::once(async { Ok(Bytes::new()) });
    let mut chunks = pin!(chunks.chain(end));
    while let Some(chunk) = chunks.next().await {
        let failed = chunk.is_err();
        if to.capacity() == 0
            && let Some(waiting) = waiting.take()
        {
            // Nobody waits for it once the answer is sent.
            let _ = waiting.send(());
        }
        if to.send(chunk).await.is_err() || failed {
            break;
        }
    }
    drop(slot);
}

#[cfg(test)]
mod tests;
