//! Metrics of the hot-writer and of the hot tier.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use event::{PartitionId, Timestamp};
use prometheus::{Gauge, Histogram, IntCounter, IntGauge, Registry};
use service_runtime::metrics::{
    DURATION_BUCKETS, counter_vec, float_gauge_vec, gauge_vec, histogram,
};

/// The value of the `tier` label.
const HOT: &str = "hot";
/// The value of the `consumer` label.
const CONSUMER: &str = "hot-writer";

/// All metrics of the service.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Events copied from the log.
    pub(crate) moved: IntCounter,
    /// Events trimmed because of their age.
    pub(crate) expired: IntCounter,
    /// Events trimmed because of the number of events of their conversation.
    pub(crate) capped: IntCounter,
    /// Frames that cannot be decoded.
    pub(crate) dead_letters: IntCounter,
    /// Time to write one batch, retries included.
    pub(crate) write_seconds: Histogram,
    pub(crate) tier_gauges: TierGauges,
}

/// The gauges of the hot tier: sums over all partitions.
#[derive(Clone, Debug)]
pub(crate) struct TierGauges {
    partitions: Arc<Mutex<BTreeMap<PartitionId, TierStats>>>,
    events: IntGauge,
    bytes: IntGauge,
    oldest: Gauge,
    pending: IntGauge,
}

/// The size and the lag of one partition.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TierStats {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest_at: Option<Timestamp>,
    /// Messages of the log that are not copied yet.
    pub(crate) pending: u64,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let moved = counter_vec(
            registry,
            "tier_moved_events_total",
            "Events copied from one place to the next.",
            &["from", "to"],
        )?;
        let removed = counter_vec(
            registry,
            "tier_removed_events_total",
            "Events removed from a tier.",
            &["tier", "reason"],
        )?;
        let dead_letters = counter_vec(
            registry,
            "consumer_dead_letters_total",
            "Frames of the log that could not be read and became dead letters.",
            &["consumer"],
        )?;
        Ok(Self {
            moved: moved.with_label_values(&["log", HOT]),
            expired: removed.with_label_values(&[HOT, "expired"]),
            capped: removed.with_label_values(&[HOT, "capped"]),
            dead_letters: dead_letters.with_label_values(&[CONSUMER]),
            write_seconds: histogram(
                registry,
                "hot_writer_write_duration_seconds",
                "Time to write one batch to the hot tier, retries included.",
                DURATION_BUCKETS,
            )?,
            tier_gauges: TierGauges::register(registry)?,
        })
    }
}

impl TierGauges {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        let tier_gauge = |name, help| gauge_vec(registry, name, help, &["tier"]);
        let oldest = float_gauge_vec(
            registry,
            "tier_oldest_event_timestamp_seconds",
            "When the log took the oldest event that the tier holds; 0 when it holds none.",
            &["tier"],
        )?;
        let pending = gauge_vec(
            registry,
            "consumer_pending_messages",
            "Messages of the log that the consumer has not copied yet.",
            &["consumer"],
        )?;
        let events = tier_gauge("tier_events", "Events that the tier holds.")?;
        let bytes = tier_gauge("tier_bytes", "Bytes that the tier's events take.")?;
        Ok(Self {
            partitions: Arc::default(),
            events: events.with_label_values(&[HOT]),
            bytes: bytes.with_label_values(&[HOT]),
            oldest: oldest.with_label_values(&[HOT]),
            pending: pending.with_label_values(&[CONSUMER]),
        })
    }

    /// Replaces the values of `partition` and updates the gauges.
    pub(crate) fn set(&self, partition: PartitionId, stats: TierStats) {
        let mut partitions = self
            .partitions
            .lock()
            .expect("nothing panics while it holds the lock");
        partitions.insert(partition, stats);
        let sum = |field: fn(&TierStats) -> u64| {
            let values = partitions.values().map(field);
            values.sum::<u64>().cast_signed()
        };
        self.events.set(sum(|stats| stats.events));
        self.bytes.set(sum(|stats| stats.bytes));
        self.pending.set(sum(|stats| stats.pending));
        let oldest = partitions.values().filter_map(|stats| stats.oldest_at);
        let oldest = oldest.min();
        self.oldest.set(oldest.map_or(0.0, seconds));
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds fit into 52 bits")]
fn seconds(time: Timestamp) -> f64 {
    time.as_micros() as f64 / 1e6
}
