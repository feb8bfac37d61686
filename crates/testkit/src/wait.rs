//! Waits for conditions, so that no test sleeps for a guessed duration.

use std::time::{Duration, Instant};

/// The pause between two checks of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Only a failing test waits that long.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Polls `condition` until it holds; panics with `what` when it does not hold within 30 s.
pub async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) {
    eventually_within(DEFAULT_TIMEOUT, what, condition).await;
}

/// Polls `condition` until it holds; panics with `what` when it does not hold within `limit`.
pub async fn eventually_within(
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) {
    let deadline = Instant::now() + limit;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
