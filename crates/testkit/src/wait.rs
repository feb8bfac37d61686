//! Waiting for a condition, never for a duration.

use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(30);

/// Polls `condition` until it holds; panics with `what` when it does not hold within 30 s.
pub async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) {
    eventually_within(LIMIT, what, condition).await;
}

/// [`eventually`] with a limit of its own.
pub async fn eventually_within(
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) {
    let deadline = Instant::now() + limit;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}
