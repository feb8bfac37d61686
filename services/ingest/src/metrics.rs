//! Metrics of ingest.

use std::time::Duration;

use axum::http::StatusCode;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, Registry};
use service_runtime::metrics::{DURATION_BUCKETS, counter, counter_vec, histogram, histogram_vec};

/// The protocol of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Json,
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
        }
    }
}

/// All metrics of the service.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    events: IntCounterVec,
    bytes: IntCounterVec,
    request_seconds: HistogramVec,
    /// The time from the append of a frame to its acknowledgement.
    pub(crate) publish_seconds: Histogram,
    /// Messages of the log that were read to check conditions.
    pub(crate) condition_messages_read: IntCounter,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            events: counter_vec(
                registry,
                "ingest_events_total",
                "Events received, by what became of them.",
                &["protocol", "result"],
            )?,
            bytes: counter_vec(
                registry,
                "ingest_bytes_total",
                "Bytes of request bodies after decompression.",
                &["protocol"],
            )?,
            request_seconds: histogram_vec(
                registry,
                "ingest_request_duration_seconds",
                "From the first byte of a request to the first of its answer.",
                &["protocol", "status"],
                DURATION_BUCKETS,
            )?,
            publish_seconds: histogram(
                registry,
                "log_append_duration_seconds",
                "From the append of a frame to the log's acknowledgement.",
                DURATION_BUCKETS,
            )?,
            condition_messages_read: counter(
                registry,
                "ingest_condition_messages_read_total",
                "Messages of the log that were read to check conditions (If-Match).",
            )?,
        })
    }

    /// Observes the duration of a request.
    pub(crate) fn request(&self, protocol: Protocol, status: StatusCode, took: Duration) {
        let class = match status.as_u16() {
            200..=299 => "2xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.request_seconds
            .with_label_values(&[protocol.as_str(), class])
            .observe(took.as_secs_f64());
    }

    /// Counts the bytes of a decompressed body.
    pub(crate) fn bytes(&self, protocol: Protocol, bytes: usize) {
        self.bytes
            .with_label_values(&[protocol.as_str()])
            .inc_by(bytes as u64);
    }

    /// Counts events; `result` is one of `acked`, `duplicate`, `rejected` and `failed`.
    pub(crate) fn events(&self, protocol: Protocol, result: &'static str, events: usize) {
        self.events
            .with_label_values(&[protocol.as_str(), result])
            .inc_by(events as u64);
    }
}
