//! The metrics of the compactor.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use event::{PartitionId, Timestamp};
use prometheus::{
    Gauge, GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};
use service_runtime::metrics::{
    DURATION_BUCKETS, counter_vec, float_gauge_vec, gauge, gauge_vec, histogram,
};

/// The metrics of the process. Cheap to clone; clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub moved: IntCounter,
    pub removed: IntCounterVec,
    pub dead_letters: IntCounter,
    pub append_seconds: Histogram,
    pub seal_seconds: Histogram,
    pub seals: IntCounterVec,
    pub merges: IntCounterVec,
    pub pending: IntGauge,
    pub gaps: IntGauge,
    pub lost_ranges: IntGauge,
    pub damaged_files: IntGauge,
    pub unproven_slices: IntGauge,
    pub disk_free_share: Gauge,
    pub open_memory: IntGauge,
    events: IntGauge,
    bytes: IntGauge,
    oldest: Gauge,
    stats_by_partition: Arc<Mutex<BTreeMap<PartitionId, PartitionStats>>>,
}

/// The content of one partition: what is not sealed, and slices.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PartitionStats {
    pub events: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Least `received_at`.
    pub oldest: Option<Timestamp>,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let warm = |gauges: &IntGaugeVec| gauges.with_label_values(&["warm"]);
        let moved = counter_vec(
            registry,
            "tier_moved_events_total",
            "Events that went from one place to the next.",
            &["from", "to"],
        )?;
        let oldest: GaugeVec = float_gauge_vec(
            registry,
            "tier_oldest_event_timestamp_seconds",
            "When the log took the oldest event of the tier; 0 when it is empty.",
            &["tier"],
        )?;
        Ok(Self {
            moved: moved.with_label_values(&["log", "warm"]),
            removed: counter_vec(
                registry,
                "tier_removed_events_total",
                "Events that left a tier, or never entered it, by reason.",
                &["tier", "reason"],
            )?,
            dead_letters: counter_vec(
                registry,
                "consumer_dead_letters_total",
                "Frames of the log that could not be decoded and became dead letters.",
                &["consumer"],
            )?
            .with_label_values(&["compactor"]),
            append_seconds: histogram(
                registry,
                "compactor_append_duration_seconds",
                "From a batch of the log to the open part.",
                DURATION_BUCKETS,
            )?,
            seal_seconds: histogram(
                registry,
                "compactor_seal_duration_seconds",
                "From an open part to sealed slices.",
                DURATION_BUCKETS,
            )?,
            seals: counter_vec(
                registry,
                "compactor_seals_total",
                "Open parts sealed.",
                &["result"],
            )?,
            merges: counter_vec(
                registry,
                "compactor_merges_total",
                "Runs of slices merged.",
                &["result"],
            )?,
            pending: gauge_vec(
                registry,
                "consumer_pending_messages",
                "Messages of the log that a consumer has not taken yet.",
                &["consumer"],
            )?
            .with_label_values(&["compactor"]),
            gaps: gauge(
                registry,
                "compactor_gaps",
                "Ranges that neither warm nor cold has and that nobody has accepted as lost.",
            )?,
            lost_ranges: gauge(
                registry,
                "compactor_lost_ranges",
                "Ranges that were accepted as lost and that the archive has committed past.",
            )?,
            damaged_files: gauge(
                registry,
                "cold_damaged_files",
                "Live files of the cold tier that were found missing or damaged.",
            )?,
            unproven_slices: gauge(
                registry,
                "compactor_unproven_slices",
                "Slices that are due and stay, because cold was not seen to have all of their rows.",
            )?,
            disk_free_share: float_gauge_vec(
                registry,
                "compactor_disk_free_ratio",
                "Free share of the volume with the segments.",
                &["volume"],
            )?
            .with_label_values(&["data"]),
            open_memory: gauge(
                registry,
                "compactor_open_memory_bytes",
                "Memory of the events that are not sealed yet.",
            )?,
            events: warm(&gauge_vec(
                registry,
                "tier_events",
                "Events in a tier.",
                &["tier"],
            )?),
            bytes: warm(&gauge_vec(
                registry,
                "tier_bytes",
                "What a tier takes on its medium.",
                &["tier"],
            )?),
            oldest: oldest.with_label_values(&["warm"]),
            stats_by_partition: Arc::default(),
        })
    }

    /// Sets the content of `partition` and updates the gauges, which are sums over all partitions.
    pub(crate) fn set_partition_stats(&self, partition: PartitionId, stats: PartitionStats) {
        let mut all = self
            .stats_by_partition
            .lock()
            .expect("nothing panics while it holds this");
        all.insert(partition, stats);
        let sum = |field: fn(&PartitionStats) -> u64| {
            i64::try_from(all.values().map(field).sum::<u64>()).unwrap_or(i64::MAX)
        };
        self.events.set(sum(|stats| stats.events));
        self.bytes.set(sum(|stats| stats.bytes));
        let oldest = all.values().filter_map(|stats| stats.oldest).min();
        let micros = oldest.map_or(0, Timestamp::as_micros);
        self.oldest.set(seconds(micros));
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a gauge is a double, which has room for microseconds of this century"
)]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1_000_000.0
}
