//! When a program that has ended is started again, and when no more. Pure.

use std::time::{Duration, Instant};

/// So many deaths within [`DEATH_WINDOW`] are not chance: another start would not help.
const MAX_DEATHS: usize = 5;
const DEATH_WINDOW: Duration = Duration::from_secs(60);
/// The pause after the first death within [`DEATH_WINDOW`]; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The deaths of one program.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    /// Those within [`DEATH_WINDOW`] of the last.
    deaths: Vec<Instant>,
}

impl Restarts {
    /// Notes a death at `now`. Returns the pause before the next start, `None` when there shall be none.
    pub(super) fn died(&mut self, now: Instant) -> Option<Duration> {
        self.deaths
            .retain(|death| now.duration_since(*death) < DEATH_WINDOW);
        self.deaths.push(now);
        let before = u32::try_from(self.deaths.len() - 1).unwrap_or(u32::MAX);
        (self.deaths.len() < MAX_DEATHS).then(|| FIRST_PAUSE * 2_u32.saturating_pow(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_death_within_a_minute_doubles_the_pause_and_the_fifth_is_the_last() {
        let (mut restarts, start) = (Restarts::default(), Instant::now());
        let mut died = |second| restarts.died(start + Duration::from_secs(second));
        let pauses = [0, 2, 4, 9].map(&mut died);
        assert_eq!(pauses, [1, 2, 4, 8].map(|s| Some(Duration::from_secs(s))));
        assert_eq!(died(59), None);
    }

    #[test]
    fn deaths_of_a_minute_ago_do_not_count() {
        let (mut restarts, start) = (Restarts::default(), Instant::now());
        for second in (0..600).step_by(30) {
            let pause = restarts.died(start + Duration::from_secs(second));
            assert!(pause.is_some_and(|pause| pause <= Duration::from_secs(2)));
        }
    }
}
