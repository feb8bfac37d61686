//! Letting others go first. While the machine is busy, what takes events and what answers needs the
//! processors now; the compactor's work can wait a little, as long as nobody waits for it.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use event::Timestamp;
use procfs_core::{CpuPressure, FromRead as _};
use tokio::time;
use warm_tier::SealedPartition;

use crate::config::ThrottleConfig;

/// The share of time in which somebody waits for a processor, from which on the machine is busy.
/// Measured on two cores: 0.4 to 0.7 while events come as fast as they are taken, 0.02 to 0.2 while
/// only the compactor works.
const BUSY: f64 = 0.3;
/// How often to look, and the shortest time in which a machine can be found busy.
const LOOK: Duration = Duration::from_millis(20);
/// The shortest time in which a busy machine can be found to be so no longer: while everybody waits
/// for the disk, nobody waits for a processor.
const CALM: Duration = Duration::from_millis(100);
/// Who waits for the compactor's word asks many times a second. So long after the last question
/// nobody does.
const ASKED: Duration = Duration::from_secs(1);

/// What the decision depends on.
#[derive(Clone, Copy, Debug)]
struct Situation {
    /// `None` where the kernel does not tell.
    pressure: Option<f64>,
    /// The age of the newest event that is in the warm tier; `None` before the first.
    behind: Option<Duration>,
    /// Since somebody asked for the compactor's word.
    asked: Option<Duration>,
}

impl Situation {
    /// Whether the work can wait, when it may be behind by `patience`. Pure.
    fn can_wait(self, patience: Duration) -> bool {
        let fresh = self.behind.is_some_and(|behind| behind < patience);
        let asked = self.asked.is_some_and(|since| since < ASKED);
        is_busy(self.pressure) && fresh && !asked
    }
}

fn is_busy(pressure: Option<f64>) -> bool {
    pressure.is_some_and(|share| share >= BUSY)
}

/// When the work on one partition may go on.
#[derive(Debug)]
pub(crate) struct Throttle {
    patience: Duration,
    pressure: Pressure,
    newest: Option<Timestamp>,
}

impl Throttle {
    pub(crate) fn new(rule: ThrottleConfig) -> Self {
        Self {
            patience: rule.patience,
            pressure: Pressure::new(rule.pressure),
            newest: None,
        }
    }

    /// The warm tier has what the log took at `newest`, by the log's clock.
    pub(crate) fn reached(&mut self, newest: Option<Timestamp>) {
        self.newest = newest.or(self.newest);
    }

    /// Does `next` when others no longer go first. May be dropped and called again at any time, if
    /// `next` may.
    pub(crate) async fn then<T>(
        &mut self,
        sealed: &SealedPartition,
        next: impl Future<Output = T>,
    ) -> T {
        while self.situation(sealed).can_wait(self.patience) {
            time::sleep(LOOK).await;
        }
        let next = next.await;
        // What comes after a calm is judged without it.
        self.pressure.look();
        next
    }

    fn situation(&mut self, sealed: &SealedPartition) -> Situation {
        let now = Timestamp::now();
        let behind = |newest: Timestamp| {
            let micros = now.as_micros().saturating_sub(newest.as_micros());
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        };
        Situation {
            pressure: self.pressure.look(),
            behind: self.newest.map(behind),
            asked: sealed.asked().map(|at| at.elapsed()),
        }
    }
}

/// How much time somebody waited for a processor, as Linux counts it.
#[derive(Debug)]
struct Pressure {
    file: PathBuf,
    last: Option<(Instant, Duration)>,
    share: Option<f64>,
}

impl Pressure {
    fn new(file: PathBuf) -> Self {
        Self {
            file,
            last: None,
            share: None,
        }
    }

    /// The share since the last look, unless that was too short ago; `None` at the first, and where
    /// there is no such file.
    fn look(&mut self) -> Option<f64> {
        let enough = match is_busy(self.share) {
            true => CALM,
            false => LOOK,
        };
        if self.last.is_some_and(|(at, _)| at.elapsed() < enough) {
            return self.share;
        }
        let total = CpuPressure::from_file(&self.file).ok()?.some.total;
        let (now, total) = (Instant::now(), Duration::from_micros(total));
        self.share = self.last.map(|last| share(last, (now, total)));
        self.last = Some((now, total));
        self.share
    }
}

/// The share of the time between two looks in which somebody waited, by the totals of both.
fn share(before: (Instant, Duration), after: (Instant, Duration)) -> f64 {
    let waited = after.1.saturating_sub(before.1);
    waited.as_secs_f64() / (after.0 - before.0).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);
    const BUSY_AND_CLOSE: Situation = Situation {
        pressure: Some(0.5),
        behind: Some(Duration::from_millis(100)),
        asked: None,
    };

    #[test]
    fn work_that_nobody_waits_for_can_wait_while_the_machine_is_busy() {
        assert!(BUSY_AND_CLOSE.can_wait(PATIENCE));
        let long_ago = Situation {
            asked: Some(ASKED),
            ..BUSY_AND_CLOSE
        };
        assert!(long_ago.can_wait(PATIENCE));
    }

    #[test]
    fn work_goes_on_when_there_is_time_or_it_is_late_or_wanted() {
        let idle = Situation {
            pressure: Some(0.2),
            ..BUSY_AND_CLOSE
        };
        let untold = Situation {
            pressure: None,
            ..BUSY_AND_CLOSE
        };
        let late = Situation {
            behind: Some(PATIENCE),
            ..BUSY_AND_CLOSE
        };
        let first = Situation {
            behind: None,
            ..BUSY_AND_CLOSE
        };
        let wanted = Situation {
            asked: Some(Duration::from_millis(30)),
            ..BUSY_AND_CLOSE
        };
        for situation in [idle, untold, late, first, wanted] {
            assert!(!situation.can_wait(PATIENCE), "{situation:?}");
        }
        assert!(!BUSY_AND_CLOSE.can_wait(Duration::ZERO));
    }

    #[test]
    fn the_pressure_is_the_share_of_the_time_between_two_looks() {
        let began = Instant::now();
        let look = |millis, total| {
            (
                began + Duration::from_millis(millis),
                Duration::from_millis(total),
            )
        };
        let shares = [
            (look(0, 700), look(100, 740)),
            (look(0, 700), look(100, 700)),
        ];
        let shares = shares.map(|(before, after)| share(before, after));
        assert!(
            (shares[0] - 0.4).abs() < 1e-9 && shares[1] == 0.0,
            "{shares:?}"
        );
    }

    #[test]
    fn nothing_is_known_of_the_pressure_before_the_second_look_nor_without_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cpu");
        let mut pressure = Pressure::new(file.clone());
        assert_eq!(pressure.look(), None);
        fs::write(&file, "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\n").unwrap();
        assert_eq!(pressure.look(), None);
        assert_eq!(pressure.last.unwrap().1, Duration::from_micros(1000));
    }
}
