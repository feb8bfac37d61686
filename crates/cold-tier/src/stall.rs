//! Gives up on a store that has stopped answering, so that a request is answered without it in time.

use std::{
    future::Future,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path};

use crate::error::{Error, Result};

/// After a stall no request is sent for so long: all fail at once. Longer than half of what a reader may
/// take, so that it waits for at most two stalls.
const STALL_PAUSE: Duration = Duration::from_secs(15);

/// Limits the time that a read waits for the store's next bytes.
#[derive(Debug, Default)]
pub(crate) struct StallGuard {
    /// `None` waits as long as the store's client does.
    timeout: Option<Duration>,
    stalled_at: Mutex<Option<Instant>>,
}

impl StallGuard {
    pub(crate) fn new(timeout: Option<Duration>) -> Self {
        Self {
            timeout,
            stalled_at: Mutex::default(),
        }
    }

    /// Returns the bytes of an object.
    pub(crate) async fn get(&self, store: &dyn ObjectStore, object: &Path) -> Result<Bytes> {
        let found = self.within(store.get(object)).await??;
        let mut bytes = BytesMut::new();
        let mut parts = found.into_stream();
        while let Some(part) = self.within(parts.next()).await? {
            bytes.extend_from_slice(&part?);
        }
        Ok(bytes.freeze())
    }

    /// Waits for `answer` within the timeout.
    pub(crate) async fn within<T>(&self, answer: impl Future<Output = T>) -> Result<T> {
        let Some(timeout) = self.timeout else {
            return Ok(answer.await);
        };
        if self
            .stalled_at()
            .is_some_and(|at| at.elapsed() < STALL_PAUSE)
        {
            return Err(stalled(timeout));
        }
        let answered = tokio::time::timeout(timeout, answer).await;
        *self.stalled_at() = answered.is_err().then(Instant::now);
        answered.map_err(|_| stalled(timeout))
    }

    fn stalled_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.stalled_at
            .lock()
            .unwrap_or_else(|error| error.into_inner())
    }
}

fn stalled(timeout: Duration) -> Error {
    Error::Unavailable(object_store::Error::Generic {
        store: "cold tier",
        source: format!("it did not answer within {timeout:?}").into(),
    })
}
