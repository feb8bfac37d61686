//! Retries of a read: a failed attempt is planned again, and a source that keeps failing is
//! excluded.

use std::time::Duration;

use crate::{
    error::{QueryError, Result},
    plan::Source,
    rows::SourceError,
};

/// From this many failed attempts of a read on, the source that failed is excluded. No reason but to
/// bound the number of attempts.
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
    failures: u32,
    pub(crate) excluded: ExcludedSources,
}

impl RetryState {
    /// Whether the next attempt must not use cached state of the tiers.
    pub(crate) fn needs_fresh_state(&self) -> bool {
        self.failures > 0
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
        self.failures += 1;
        if self.failures >= FAILURES_BEFORE_EXCLUSION {
            if let SourceError::Unavailable(error) = error {
                let error = format!("{error:#}");
                tracing::warn!(error, source = source.tier(), "source excluded from read");
            }
            match source {
                Source::Hot => self.excluded.hot = true,
                Source::Log => self.excluded.log = true,
                Source::Warm => self.excluded.warm = true,
                Source::WarmAndCold | Source::Cold => self.excluded.cold = true,
            }
        }
        tokio::time::sleep(READ_RETRY_PAUSE).await;
        Ok(())
    }
}
