//! Retries of a read: a failed attempt is planned again, and a source that keeps failing is
//! excluded.

use std::time::Duration;

use crate::{
    error::{QueryError, Result},
    plan::Source,
    rows::SourceError,
};

/// From this many attempts on that failed because of one source, it is excluded. No reason but to bound the
/// number of attempts.
const FAILURES_BEFORE_EXCLUSION: u32 = 3;
/// Pause between two attempts of a read.
const READ_RETRY_PAUSE: Duration = Duration::from_millis(25);

/// Failure of one attempt to read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// No retry can help.
    Fatal(QueryError),
    /// The source has changed since the plan, or does not answer: a retry can help.
    Source(Source, SourceError),
}

impl From<QueryError> for ReadError {
    fn from(error: QueryError) -> Self {
        Self::Fatal(error)
    }
}

/// The sources that a read no longer uses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExcludedSources {
    pub(crate) hot: bool,
    pub(crate) log: bool,
    pub(crate) warm: bool,
    pub(crate) cold: bool,
}

/// The failed attempts of one read. Retrying ends, because a failing source is excluded sooner or
/// later.
#[derive(Debug, Default)]
pub(crate) struct RetryState {
    hot_failures: u32,
    log_failures: u32,
    warm_failures: u32,
    cold_failures: u32,
    pub(crate) excluded: ExcludedSources,
}

impl RetryState {
    /// Whether the next attempt must not use cached state of the tiers.
    pub(crate) fn needs_fresh_state(&self) -> bool {
        self.hot_failures + self.log_failures + self.warm_failures + self.cold_failures > 0
    }

    /// Records a failed attempt and returns when it is time for the next one.
    ///
    /// # Errors
    ///
    /// The error of the attempt, when no retry can help.
    pub(crate) async fn back_off(&mut self, error: ReadError) -> Result<()> {
        let (source, error) = match error {
            ReadError::Fatal(error) => return Err(error),
            ReadError::Source(source, error) => (source, error),
        };
        if self.record(source)
            && let SourceError::Unavailable(error) = error
        {
            let error = format!("{error:#}");
            tracing::warn!(error, source = source.tier(), "source excluded from read");
        }
        tokio::time::sleep(READ_RETRY_PAUSE).await;
        Ok(())
    }

    /// Counts a failure of `source`; returns whether it is excluded.
    fn record(&mut self, source: Source) -> bool {
        let excluded = &mut self.excluded;
        let (failures, is_excluded) = match source {
            Source::Hot => (&mut self.hot_failures, &mut excluded.hot),
            Source::Log => (&mut self.log_failures, &mut excluded.log),
            Source::Warm => (&mut self.warm_failures, &mut excluded.warm),
            Source::WarmAndCold | Source::Cold => (&mut self.cold_failures, &mut excluded.cold),
        };
        *failures += 1;
        *is_excluded = *failures >= FAILURES_BEFORE_EXCLUSION;
        *is_excluded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_excluded_by_its_own_failures_only() {
        let mut retry = RetryState::default();
        for _ in 0..2 {
            assert!(!retry.record(Source::Warm) && !retry.record(Source::Log));
        }
        assert!(!retry.record(Source::Hot) && !retry.excluded.hot);
        assert!(retry.record(Source::Warm) && retry.excluded.warm);
        assert!(!retry.excluded.log && !retry.excluded.hot && !retry.excluded.cold);
        assert!(retry.needs_fresh_state());
    }
}
