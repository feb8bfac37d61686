//! Planning again: what is tried once more, and which source is done without in the end.

use std::time::Duration;

use crate::{
    error::{Problem, Result},
    plan::Source,
    rows::Failed,
};

/// How often a read plans with a source that fails.
const MAX_TRIES_PER_SOURCE: u32 = 3;
const READ_RETRY_PAUSE: Duration = Duration::from_millis(25);

/// Why a plan gave nothing.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// It never will.
    Problem(Problem),
    /// This source had moved on, or did not answer.
    Failed(Source, Failed),
}

impl From<Problem> for ReadError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Which sources to do without.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExcludedSources {
    pub(crate) hot: bool,
    pub(crate) log: bool,
    pub(crate) warm: bool,
    pub(crate) cold: bool,
}

/// The tries of one read. Ends, because every source is left out sooner or later.
#[derive(Debug, Default)]
pub(crate) struct RetryState {
    tries: u32,
    pub(crate) excluded: ExcludedSources,
}

impl RetryState {
    /// Whether what was known before must not be used again.
    pub(crate) fn fresh(&self) -> bool {
        self.tries > 0
    }

    /// Returns when it is time to try again.
    pub(crate) async fn after(&mut self, stop: ReadError) -> Result<()> {
        let (source, failed) = match stop {
            ReadError::Problem(problem) => return Err(problem),
            ReadError::Failed(source, failed) => (source, failed),
        };
        self.tries += 1;
        if self.tries >= MAX_TRIES_PER_SOURCE {
            if let Failed::Down(error) = failed {
                let error = format!("{error:#}");
                tracing::warn!(error, source = source.tier(), "left out");
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
