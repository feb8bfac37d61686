//! The metrics of the archiver.

use event::Timestamp;
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, Registry};
use service_runtime::metrics::{counter, counter_vec, float_gauge, gauge, gauge_vec};

use crate::summary::Summary;

/// The metrics of one process.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    runs: IntCounterVec,
    pub(crate) files: IntCounter,
    pub(crate) moved: IntCounter,
    pub(crate) expired: IntCounter,
    pub(crate) sampled: IntCounter,
    last_success: Gauge,
    damaged_files: IntGauge,
    events: IntGauge,
    bytes: IntGauge,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let moved = counter_vec(
            registry,
            "tier_moved_events_total",
            "Events that went from one place to the next.",
            &["from", "to"],
        )?;
        let removed = counter_vec(
            registry,
            "tier_removed_events_total",
            "Events that were removed from a tier, by reason.",
            &["tier", "reason"],
        )?;
        let cold_gauge = |name: &str, help: &str| {
            let gauges = gauge_vec(registry, name, help, &["tier"])?;
            prometheus::Result::Ok(gauges.with_label_values(&["cold"]))
        };
        Ok(Self {
            runs: counter_vec(
                registry,
                "archive_runs_total",
                "Runs of the archiver, by result.",
                &["result"],
            )?,
            files: counter(
                registry,
                "archive_files_total",
                "Files added to the cold tier.",
            )?,
            moved: moved.with_label_values(&["warm", "cold"]),
            expired: removed.with_label_values(&["cold", "expired"]),
            sampled: removed.with_label_values(&["cold", "sampled"]),
            last_success: float_gauge(
                registry,
                "archive_last_success_timestamp_seconds",
                "When the last run that succeeded ended.",
            )?,
            damaged_files: gauge(
                registry,
                "cold_damaged_files",
                "Live files of the cold tier that were found missing or damaged.",
            )?,
            events: cold_gauge("tier_events", "Events that the tier holds.")?,
            bytes: cold_gauge("tier_bytes", "Bytes that the tier holds.")?,
        })
    }

    /// Records the end of a run; one without a summary failed early.
    pub(crate) fn record_run(&self, summary: Option<&Summary>, now: Timestamp) {
        let succeeded = summary.is_some_and(Summary::succeeded);
        let result = if succeeded { "ok" } else { "error" };
        self.runs.with_label_values(&[result]).inc();
        if let Some(summary) = summary {
            let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            self.events.set(gauge(summary.kept));
            self.bytes.set(gauge(summary.kept_bytes));
            self.damaged_files.set(gauge(summary.damaged.len() as u64));
        }
        if succeeded {
            #[expect(
                clippy::cast_precision_loss,
                reason = "seconds need no more than 53 bits"
            )]
            self.last_success.set(now.as_micros() as f64 / 1e6);
        }
    }
}
