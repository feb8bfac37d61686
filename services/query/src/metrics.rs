//! Prometheus metrics of the query service.

use prometheus::{HistogramVec, IntCounterVec, IntGauge, Registry};
use service_runtime::metrics::{DURATION_BUCKETS, counter_vec, gauge, histogram_vec};

/// The metrics of the service.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Seconds from a request to the start of its answer.
    pub(crate) duration: HistogramVec,
    pub(crate) requests: IntCounterVec,
    pub(crate) rows: IntCounterVec,
    pub(crate) tail_clients: IntGauge,
}

impl Metrics {
    /// Registers all metrics of the service.
    ///
    /// # Errors
    ///
    /// A metric of the same name is registered already.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            duration: histogram_vec(
                registry,
                "query_duration_seconds",
                "Time from a request to the start of its answer.",
                &["api"],
                DURATION_BUCKETS,
            )?,
            requests: counter_vec(
                registry,
                "query_requests_total",
                "Requests by outcome: ok, refused, unavailable or failed.",
                &["api", "result"],
            )?,
            rows: counter_vec(
                registry,
                "query_rows_total",
                "Rows read from each tier; log is the event log itself.",
                &["tier"],
            )?,
            tail_clients: gauge(
                registry,
                "tail_clients",
                "Clients that follow a conversation or a tenant now.",
            )?,
        })
    }
}
