//! Planning again: what is tried once more, and which source is done without in the end.

use std::time::Duration;

use crate::{
    error::{Problem, Result},
    plan::Source,
    rows::Failed,
};

/// How often a read plans with a source that fails.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(25);

/// Why a plan gave nothing.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It never will.
    Problem(Problem),
    /// This source had moved on, or did not answer.
    Failed(Source, Failed),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Which sources to do without.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Without {
    pub(crate) hot: bool,
    pub(crate) log: bool,
    pub(crate) warm: bool,
    pub(crate) cold: bool,
}

/// The tries of one read. Ends, because every source is left out sooner or later.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    tries: u32,
    pub(crate) without: Without,
}

impl Patience {
    /// Whether what was known before must not be used again.
    pub(crate) fn fresh(&self) -> bool {
        self.tries > 0
    }

    /// Returns when it is time to try again.
    pub(crate) async fn after(&mut self, stop: Stop) -> Result<()> {
        let (source, failed) = match stop {
            Stop::Problem(problem) => return Err(problem),
            Stop::Failed(source, failed) => (source, failed),
        };
        self.tries += 1;
        if self.tries >= TRIES {
            if let Failed::Down(error) = failed {
                let error = format!("{error:#}");
                tracing::warn!(error, source = source.tier(), "left out");
            }
            match source {
                Source::Hot => self.without.hot = true,
                Source::Log => self.without.log = true,
                Source::Warm => self.without.warm = true,
                Source::WarmAndCold | Source::Cold => self.without.cold = true,
            }
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}
