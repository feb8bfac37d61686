//! The figures of all runs, their medians, and the table that shows them. Pure.

use std::{collections::BTreeSet, fmt::Write as _};

use serde::{Deserialize, Serialize};

use super::cpu::CpuSeconds;

/// The output of `isotherm bench-load`. All times count from the first request.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct LoadTimes {
    pub(super) events: u64,
    acked_seconds: f64,
    hot_seconds: f64,
    warm_seconds: f64,
    ack_p50_ms: f64,
    ack_p99_ms: f64,
}

/// The output of `xadd_baseline`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct BaselineTimes {
    pub(super) events: u64,
    seconds: f64,
    streams: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Isotherm {
    #[serde(flatten)]
    pub(super) times: LoadTimes,
    pub(super) cpu_seconds: CpuSeconds,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Baseline {
    #[serde(flatten)]
    pub(super) times: BaselineTimes,
    pub(super) server_cpu_seconds: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Run {
    pub(super) isotherm: Isotherm,
    /// The same with the warm tier stopped until the events are in the hot tier.
    pub(super) alone: LoadTimes,
    pub(super) baseline: Baseline,
}

/// All runs of the same events.
#[derive(Debug)]
pub(super) struct Report {
    events: u64,
    bytes: u64,
    runs: Vec<Run>,
}

impl Report {
    pub(super) fn new(events: u64, bytes: u64, runs: Vec<Run>) -> Self {
        Self {
            events,
            bytes,
            runs,
        }
    }

    /// Speed at which events reach the hot tier, as a multiple of one XADD per event.
    pub(super) fn ratio(&self) -> f64 {
        self.median(|run| run.baseline.times.seconds)
            / self.median(|run| run.isotherm.times.hot_seconds)
    }

    /// The same ratio with the warm tier stopped meanwhile.
    pub(super) fn ratio_alone(&self) -> f64 {
        self.median(|run| run.baseline.times.seconds) / self.median(|run| run.alone.hot_seconds)
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "events": self.events,
            "bytes": self.bytes,
            "hot_to_xadd": self.ratio(),
            "hot_alone_to_xadd": self.ratio_alone(),
            "runs": self.runs,
        })
    }

    pub(super) fn table(&self) -> String {
        let mut text = self.title();
        let time = |of: fn(&Run) -> f64| self.median(of);
        self.rate(
            &mut text,
            "acknowledged",
            time(|run| run.isotherm.times.acked_seconds),
        );
        self.rate(
            &mut text,
            "in the hot tier",
            time(|run| run.isotherm.times.hot_seconds),
        );
        self.rate(
            &mut text,
            "in the warm tier",
            time(|run| run.isotherm.times.warm_seconds),
        );
        self.rate(
            &mut text,
            "in hot, warm held",
            time(|run| run.alone.hot_seconds),
        );
        self.rate(
            &mut text,
            "one XADD per event",
            time(|run| run.baseline.times.seconds),
        );
        let (p50, p99) = (
            time(|run| run.isotherm.times.ack_p50_ms),
            time(|run| run.isotherm.times.ack_p99_ms),
        );
        put(
            &mut text,
            &format!("\na request: p50 {p50:.1} ms, p99 {p99:.1} ms"),
        );
        put(&mut text, "\nCPU                        s / million events");
        let mut total = 0.0;
        for name in self.programs() {
            let used =
                self.median(|run| run.isotherm.cpu_seconds.get(&name).copied().unwrap_or(0.0));
            total += used;
            self.cpu(&mut text, &name, used);
        }
        self.cpu(&mut text, "all of Isotherm", total);
        let server = self.median(|run| run.baseline.server_cpu_seconds);
        self.cpu(&mut text, "server of one XADD per event", server);
        text
    }

    fn title(&self) -> String {
        let (runs, bytes) = (self.runs.len(), self.bytes / self.events.max(1));
        let events = thousands(self.events);
        let runs = match runs {
            1 => "one run".to_owned(),
            runs => format!("medians of {runs} runs"),
        };
        let mut text = format!("{events} events of {bytes} bytes, {runs}\n\n");
        put(&mut text, "                            events/s   seconds");
        text
    }

    fn rate(&self, text: &mut String, name: &str, seconds: f64) {
        let rate = thousands((count(self.events) / seconds) as u64);
        put(text, &format!("{name:<24}{rate:>12}{seconds:>10.2}"));
    }

    fn cpu(&self, text: &mut String, name: &str, seconds: f64) {
        let per_million = seconds / count(self.events) * 1e6;
        put(text, &format!("{name:<30}{per_million:>14.2}"));
    }

    fn programs(&self) -> BTreeSet<String> {
        let names = self
            .runs
            .iter()
            .flat_map(|run| run.isotherm.cpu_seconds.keys());
        names.cloned().collect()
    }

    fn median(&self, of: impl Fn(&Run) -> f64) -> f64 {
        let mut values: Vec<f64> = self.runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.as_slice() {
            [] => f64::NAN,
            values if values.len() % 2 == 1 => values[middle],
            values => f64::midpoint(values[middle - 1], values[middle]),
        }
    }
}

fn put(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes everything");
}

fn count(events: u64) -> f64 {
    events as f64
}

/// `1234567` as `1,234,567`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(hot_seconds: f64) -> LoadTimes {
        LoadTimes {
            events: 1000,
            acked_seconds: 0.5,
            hot_seconds,
            warm_seconds: 2.0,
            ack_p50_ms: 1.0,
            ack_p99_ms: 3.0,
        }
    }

    fn run(hot_seconds: f64, xadd_seconds: f64) -> Run {
        Run {
            isotherm: Isotherm {
                times: load(hot_seconds),
                cpu_seconds: CpuSeconds::from([("ingest".to_owned(), 0.001)]),
            },
            alone: load(hot_seconds / 2.0),
            baseline: Baseline {
                times: BaselineTimes {
                    events: 1000,
                    seconds: xadd_seconds,
                    streams: 10,
                },
                server_cpu_seconds: 0.003,
            },
        }
    }

    #[test]
    fn the_ratio_is_that_of_the_medians() {
        let runs = vec![run(1.0, 9.0), run(2.0, 1.0), run(8.0, 4.0)];
        let report = Report::new(1000, 440_000, runs);
        assert!((report.ratio() - 2.0).abs() < 1e-9);
        assert!((report.ratio_alone() - 4.0).abs() < 1e-9);
        let runs = vec![run(1.0, 3.0), run(3.0, 3.0)];
        let report = Report::new(1000, 440_000, runs);
        assert!((report.ratio() - 1.5).abs() < 1e-9);
    }

    #[test]
    fn the_table_shows_every_rate_and_every_program() {
        let table = Report::new(1000, 440_000, vec![run(1.0, 4.0)]).table();
        for line in [
            "1,000 events of 440 bytes, one run",
            "acknowledged                   2,000      0.50",
            "in hot, warm held              2,000      0.50",
            "one XADD per event               250      4.00",
            "ingest                                  1.00",
            "server of one XADD per event            3.00",
        ] {
            assert!(table.contains(line), "{line:?} in\n{table}");
        }
    }

    #[test]
    fn large_numbers_can_be_read() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
