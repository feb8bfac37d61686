//! Exponential backoff, the one retry policy of the workspace.

use std::{error::Error, future::Future, time::Duration};

use tokio_util::sync::CancellationToken;

/// Exponential backoff: delays that double from `first` up to `max`, without jitter.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The delay after the first failure.
    pub first: Duration,
    /// The longest delay.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            max: Duration::from_secs(5),
        }
    }
}

impl Backoff {
    /// Returns the delay after failure number `attempt`, counted from 0.
    #[must_use]
    pub fn delay(&self, attempt: u32) -> Duration {
        self.first
            .saturating_mul(2_u32.saturating_pow(attempt))
            .min(self.max)
    }

    /// Calls `operation` until it succeeds, fails permanently, or `shutdown` is cancelled.
    ///
    /// `what` names the operation in the log; `is_transient` says which errors are retried.
    ///
    /// # Errors
    /// The last error of `operation`: a permanent one, or a transient one after `shutdown`.
    pub async fn retry<T, E, F>(
        &self,
        what: &'static str,
        shutdown: &CancellationToken,
        is_transient: impl Fn(&E) -> bool,
        mut operation: impl FnMut() -> F,
    ) -> Result<T, E>
    where
        E: Error + 'static,
        F: Future<Output = Result<T, E>>,
    {
        let mut attempt = 0;
        loop {
            let error = match operation().await {
                Err(error) if is_transient(&error) && !shutdown.is_cancelled() => error,
                result => return result,
            };
            let delay = self.delay(attempt);
            tracing::warn!(
                error = &error as &dyn Error,
                operation = what,
                attempt,
                delay_ms = delay.as_millis(),
                "will retry"
            );
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(error),
                () = tokio::time::sleep(delay) => attempt += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, io};

    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum() {
        let backoff = Backoff {
            first: Duration::from_millis(100),
            max: Duration::from_secs(1),
        };
        let delays: Vec<_> = (0..6)
            .map(|attempt| backoff.delay(attempt).as_millis())
            .collect();
        assert_eq!(delays, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.delay(u32::MAX), backoff.max);
    }

    #[tokio::test(start_paused = true)]
    async fn a_transient_error_is_tried_again_and_a_permanent_one_is_not() {
        let calls = Cell::new(0);
        let transient = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;

        let result: io::Result<()> = Backoff::default()
            .retry("read", &CancellationToken::new(), transient, async || {
                calls.set(calls.get() + 1);
                Err(if calls.get() < 3 {
                    io::ErrorKind::TimedOut.into()
                } else {
                    io::ErrorKind::NotFound.into()
                })
            })
            .await;

        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(calls.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_gives_up_when_the_process_stops() {
        let shutdown = CancellationToken::new();
        let retry = Backoff::default();
        let forever = retry.retry(
            "read",
            &shutdown,
            |_| true,
            async || Err::<(), _>(io::Error::from(io::ErrorKind::TimedOut)),
        );
        let stop = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            shutdown.cancel();
        };

        let (result, ()) = tokio::join!(forever, stop);

        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
