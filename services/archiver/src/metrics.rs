//! What the archiver counts.

use event::Timestamp;
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, Registry};
use service_runtime::metrics::{counter, counter_vec, float_gauge, gauge_vec};

use crate::summary::Summary;

/// One per process.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    runs: IntCounterVec,
    pub(crate) files: IntCounter,
    pub(crate) moved: IntCounter,
    pub(crate) expired: IntCounter,
    pub(crate) sampled: IntCounter,
    last_success: Gauge,
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
        let of_cold = |name: &str, help: &str| {
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
            events: of_cold("tier_events", "Events that the tier holds.")?,
            bytes: of_cold("tier_bytes", "Bytes that the tier holds.")?,
        })
    }

    /// A run has ended.
    pub(crate) fn ended(&self, summary: &Summary, now: Timestamp) {
        let result = if summary.is_good() { "ok" } else { "error" };
        self.runs.with_label_values(&[result]).inc();
        self.events
            .set(i64::try_from(summary.kept).unwrap_or(i64::MAX));
        self.bytes
            .set(i64::try_from(summary.kept_bytes).unwrap_or(i64::MAX));
        if summary.is_good() {
            #[expect(
                clippy::cast_precision_loss,
                reason = "seconds need no more than 53 bits"
            )]
            self.last_success.set(now.as_micros() as f64 / 1e6);
        }
    }
}
