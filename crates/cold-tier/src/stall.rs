//! Gives up on a store that has stopped answering, so that a request is answered without it in time.

use std::{
    future::Future,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path};
use tokio::time::Instant;

use crate::error::{Error, Result};

/// After a stall no request is sent for so long: all fail at once; then one tries again. Longer than half of
/// what a reader may take, so that it waits for at most two stalls.
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

    /// Returns the bytes of an object, which has at most `most` of them.
    pub(crate) async fn get(
        &self,
        store: &dyn ObjectStore,
        object: &Path,
        most: Option<u64>,
    ) -> Result<Bytes> {
        let found = self.within(store.get(object)).await??;
        let size = found.meta.size;
        if let Some(most) = most.filter(|most| size > *most) {
            let path = object.to_string();
            let reason = format!("it has {size} bytes, not {most}");
            return Err(Error::Damaged { path, reason });
        }
        // At once, so that it never moves as it grows.
        let mut bytes = BytesMut::with_capacity(usize::try_from(size).unwrap_or(0));
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
        if !self.admits() {
            return Err(stalled(timeout));
        }
        let answered = tokio::time::timeout(timeout, answer).await;
        *self.stalled_at() = answered.is_err().then(Instant::now);
        answered.map_err(|_| stalled(timeout))
    }

    /// Whether a request may be sent: the store answers, or this is the one that tries again. The others wait
    /// for its outcome, also when it is dropped.
    fn admits(&self) -> bool {
        let mut stalled_at = self.stalled_at();
        let Some(at) = *stalled_at else {
            return true;
        };
        let is_over = at.elapsed() >= STALL_PAUSE;
        if is_over {
            *stalled_at = Some(Instant::now());
        }
        is_over
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

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(4);

    #[tokio::test(start_paused = true)]
    async fn after_a_stall_requests_fail_at_once_until_one_has_tried_again() {
        let guard = StallGuard::new(Some(TIMEOUT));
        guard.within(pending::<()>()).await.unwrap_err();
        let stalled_at = Instant::now();
        guard.within(ready(())).await.unwrap_err();
        assert_eq!(stalled_at.elapsed(), Duration::ZERO);

        tokio::time::advance(STALL_PAUSE).await;
        let again = guard.within(pending::<()>());
        let (first, second) = tokio::join!(again, guard.within(ready(())));
        assert!(first.is_err() && second.is_err(), "only one tries again");

        tokio::time::advance(STALL_PAUSE).await;
        guard.within(ready(())).await.unwrap();
        guard.within(ready(())).await.unwrap();
    }
}
