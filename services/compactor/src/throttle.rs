//! Throttling of the compactor while the machine is busy: services that ingest and answer need the
//! processors then, and the compactor's work can wait a little, as long as no reader waits for it.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use event::Timestamp;
use procfs_core::{CpuPressure, FromRead as _};
use tokio::time;
use warm_tier::SealedPartition;

use crate::config::ThrottleConfig;

/// The share of time in which some task waits for a processor, from which on the machine is busy.
/// Measured on two cores: 0.4 to 0.7 while events come as fast as they are ingested, 0.02 to 0.2
/// while only the compactor works.
const BUSY_PRESSURE: f64 = 0.3;
/// Time between two checks, and the shortest time over which a machine can be found busy.
const PRESSURE_CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// The shortest time over which a busy machine can be found idle: while all tasks wait for the disk,
/// none waits for a processor.
const BUSY_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Time after its last request for duplicates in which a reader is still taken to wait: one that
/// waits repeats its request many times a second.
const READER_WAIT_TIMEOUT: Duration = Duration::from_secs(1);

/// The inputs of the decision.
#[derive(Clone, Copy, Debug)]
struct ThrottleInputs {
    /// `None` where the kernel does not provide it.
    pressure: Option<f64>,
    /// The age of the newest event in the warm tier; `None` before the first.
    lag: Option<Duration>,
    /// Time since the last request for duplicates.
    since_request: Option<Duration>,
}

impl ThrottleInputs {
    /// Returns whether the work can wait, when it may lag by `max_lag`. Pure.
    fn can_wait(self, max_lag: Duration) -> bool {
        let in_time = self.lag.is_some_and(|lag| lag < max_lag);
        let reader_waits = self
            .since_request
            .is_some_and(|since| since < READER_WAIT_TIMEOUT);
        is_busy(self.pressure) && in_time && !reader_waits
    }
}

fn is_busy(pressure: Option<f64>) -> bool {
    pressure.is_some_and(|share| share >= BUSY_PRESSURE)
}

/// Delays the work on one partition.
#[derive(Debug)]
pub(crate) struct Throttle {
    max_lag: Duration,
    pressure: PressureMeter,
    /// `received_at` of the newest event in the warm tier.
    newest_received_at: Option<Timestamp>,
}

impl Throttle {
    pub(crate) fn new(config: ThrottleConfig) -> Self {
        Self {
            max_lag: config.max_lag,
            pressure: PressureMeter::new(config.pressure_file),
            newest_received_at: None,
        }
    }

    /// Records `received_at` of the newest event that was appended.
    pub(crate) fn appended(&mut self, received_at: Option<Timestamp>) {
        self.newest_received_at = received_at.or(self.newest_received_at);
    }

    /// Waits while the work can wait, then for `next`. Safe to cancel at any time, if `next` is.
    pub(crate) async fn then<T>(
        &mut self,
        sealed: &SealedPartition,
        next: impl Future<Output = T>,
    ) -> T {
        while self.inputs(sealed).can_wait(self.max_lag) {
            time::sleep(PRESSURE_CHECK_INTERVAL).await;
        }
        let next = next.await;
        // Starts a new measurement, without the time in which there was nothing to do.
        self.pressure.measure();
        next
    }

    fn inputs(&mut self, sealed: &SealedPartition) -> ThrottleInputs {
        let now = Timestamp::now();
        let age = |received_at: Timestamp| {
            let micros = now.as_micros().saturating_sub(received_at.as_micros());
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        };
        ThrottleInputs {
            pressure: self.pressure.measure(),
            lag: self.newest_received_at.map(age),
            since_request: sealed.last_duplicates_request().map(|at| at.elapsed()),
        }
    }
}

/// Measures CPU pressure: the share of time in which some task waited for a processor, from Linux's
/// total.
#[derive(Debug)]
struct PressureMeter {
    file: PathBuf,
    /// The time of the last measurement, and the total then.
    last: Option<(Instant, Duration)>,
    share: Option<f64>,
}

impl PressureMeter {
    fn new(file: PathBuf) -> Self {
        Self {
            file,
            last: None,
            share: None,
        }
    }

    /// Measures the share since the last measurement, or returns that one's when it is too recent;
    /// `None` at the first, and where the file does not exist.
    fn measure(&mut self) -> Option<f64> {
        let min_interval = match is_busy(self.share) {
            true => BUSY_CHECK_INTERVAL,
            false => PRESSURE_CHECK_INTERVAL,
        };
        if self.last.is_some_and(|(at, _)| at.elapsed() < min_interval) {
            return self.share;
        }
        let total = CpuPressure::from_file(&self.file).ok()?.some.total;
        let (now, total) = (Instant::now(), Duration::from_micros(total));
        self.share = self.last.map(|last| share(last, (now, total)));
        self.last = Some((now, total));
        self.share
    }
}

/// The share of the time between two measurements in which some task waited, by their totals.
fn share(before: (Instant, Duration), after: (Instant, Duration)) -> f64 {
    let waited = after.1.saturating_sub(before.1);
    waited.as_secs_f64() / (after.0 - before.0).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MAX_LAG: Duration = Duration::from_secs(2);
    const BUSY_AND_IN_TIME: ThrottleInputs = ThrottleInputs {
        pressure: Some(0.5),
        lag: Some(Duration::from_millis(100)),
        since_request: None,
    };

    #[test]
    fn work_can_wait_while_the_machine_is_busy_and_no_reader_waits() {
        assert!(BUSY_AND_IN_TIME.can_wait(MAX_LAG));
        let long_ago = ThrottleInputs {
            since_request: Some(READER_WAIT_TIMEOUT),
            ..BUSY_AND_IN_TIME
        };
        assert!(long_ago.can_wait(MAX_LAG));
    }

    #[test]
    fn work_goes_on_when_the_machine_is_idle_or_it_lags_or_a_reader_waits() {
        let idle = ThrottleInputs {
            pressure: Some(0.2),
            ..BUSY_AND_IN_TIME
        };
        let unknown = ThrottleInputs {
            pressure: None,
            ..BUSY_AND_IN_TIME
        };
        let late = ThrottleInputs {
            lag: Some(MAX_LAG),
            ..BUSY_AND_IN_TIME
        };
        let first = ThrottleInputs {
            lag: None,
            ..BUSY_AND_IN_TIME
        };
        let reader_waits = ThrottleInputs {
            since_request: Some(Duration::from_millis(30)),
            ..BUSY_AND_IN_TIME
        };
        for inputs in [idle, unknown, late, first, reader_waits] {
            assert!(!inputs.can_wait(MAX_LAG), "{inputs:?}");
        }
        assert!(!BUSY_AND_IN_TIME.can_wait(Duration::ZERO));
    }

    #[test]
    fn the_pressure_is_the_share_of_the_time_between_two_measurements() {
        let began = Instant::now();
        let measured = |millis, total| {
            (
                began + Duration::from_millis(millis),
                Duration::from_millis(total),
            )
        };
        let shares = [
            (measured(0, 700), measured(100, 740)),
            (measured(0, 700), measured(100, 700)),
        ];
        let shares = shares.map(|(before, after)| share(before, after));
        assert!(
            (shares[0] - 0.4).abs() < 1e-9 && shares[1] == 0.0,
            "{shares:?}"
        );
    }

    #[test]
    fn the_pressure_is_unknown_before_the_second_measurement_and_without_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cpu");
        let mut pressure = PressureMeter::new(file.clone());
        assert_eq!(pressure.measure(), None);
        fs::write(&file, "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\n").unwrap();
        assert_eq!(pressure.measure(), None);
        assert_eq!(pressure.last.unwrap().1, Duration::from_micros(1000));
    }
}
