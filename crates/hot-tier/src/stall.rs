//! Gives up on a server that has stopped answering, so that a request is answered without it in time.

use std::{
    future::Future,
    io,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use redis::RedisResult;
use tokio::time::Instant;

use crate::error::Result;

/// The longest that a call may take. A little longer than what a connection waits for a reply, after which it is
/// opened again.
const STALL_TIMEOUT: Duration = Duration::from_millis(2500);
/// After a stall all calls fail at once for so long; then one tries again. Long beside the timeout, so that
/// few requests wait for it.
const STALL_PAUSE: Duration = Duration::from_secs(10);

/// Limits the time that calls wait for the server.
#[derive(Debug, Default)]
pub(crate) struct StallGuard {
    stalled_at: Mutex<Option<Instant>>,
}

impl StallGuard {
    /// Waits for `answer` within the timeout.
    ///
    /// # Errors
    /// That of the call; [`Error::Unavailable`](crate::Error::Unavailable) after the timeout, and at once
    /// while the server stalls.
    pub(crate) async fn within<T>(
        &self,
        answer: impl Future<Output = RedisResult<T>>,
    ) -> Result<T> {
        self.admit()?;
        let answer = tokio::time::timeout(STALL_TIMEOUT, answer).await;
        let answer =
            answer.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        let has_stalled = answer.as_ref().is_err_and(redis::RedisError::is_timeout);
        *self.stalled_at() = has_stalled.then(Instant::now);
        Ok(answer?)
    }

    /// Lets a call through if the server answers, or if it is the one that tries again: the others wait for
    /// its outcome, also when it is dropped.
    fn admit(&self) -> RedisResult<()> {
        let mut stalled_at = self.stalled_at();
        if let Some(at) = *stalled_at {
            if at.elapsed() < STALL_PAUSE {
                let error = io::Error::new(io::ErrorKind::TimedOut, "it did not answer lately");
                return Err(error.into());
            }
            *stalled_at = Some(Instant::now());
        }
        Ok(())
    }

    fn stalled_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.stalled_at
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    async fn call(guard: &StallGuard, answer: impl Future<Output = RedisResult<()>>) -> bool {
        guard.within(answer).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_stall_calls_fail_at_once_until_one_has_tried_again() {
        let guard = StallGuard::default();
        assert!(call(&guard, ready(Ok(()))).await);
        assert!(!call(&guard, pending()).await);
        let stalled_at = Instant::now();
        assert!(!call(&guard, ready(Ok(()))).await, "not asked");
        assert_eq!(stalled_at.elapsed(), Duration::ZERO);

        tokio::time::advance(STALL_PAUSE).await;
        let (first, second) = tokio::join!(call(&guard, pending()), call(&guard, ready(Ok(()))));
        assert!(!first && !second, "only one tries again");

        tokio::time::advance(STALL_PAUSE).await;
        let abandoned = tokio::time::timeout(Duration::ZERO, call(&guard, pending())).await;
        assert!(abandoned.is_err());
        assert!(!call(&guard, ready(Ok(()))).await, "it counts as a try");

        tokio::time::advance(STALL_PAUSE).await;
        assert!(call(&guard, ready(Ok(()))).await);
        assert!(call(&guard, ready(Ok(()))).await);
    }

    #[tokio::test]
    async fn a_server_that_refuses_has_not_stalled() {
        let guard = StallGuard::default();
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(!call(&guard, ready(Err(refused.into()))).await);
        assert!(call(&guard, ready(Ok(()))).await);
    }
}
