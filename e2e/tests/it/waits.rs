//! Waits until a tier has reached the state that a test needs.

use std::time::Duration;

use serde_json::Value;
use testkit::eventually_within;

use crate::{agents, world::World};

const WAIT_TIMEOUT: Duration = Duration::from_secs(90);

impl World {
    /// Waits until everything in the log is sealed in warm.
    pub(crate) async fn until_sealed(&self) {
        self.until_watermark("warm", "sealed").await;
    }

    /// Waits until `field` of the watermark of `tier` is the log's last sequence, in every
    /// partition.
    pub(crate) async fn until_watermark(&self, tier: &str, field: &str) {
        let log = self.log().await;
        let count = log.partition_count().await.unwrap().unwrap();
        eventually_within(
            WAIT_TIMEOUT,
            &format!("{tier} {field} is the end of the log"),
            async || {
                let watermarks = log.watermarks().await.unwrap();
                let watermarks = serde_json::to_value(&watermarks).unwrap().to_string();
                let watermarks: Vec<Value> = serde_json::from_str(&watermarks).unwrap();
                for partition in count.all() {
                    let last = log.last_seq(partition).await.unwrap();
                    let reached = watermarks.iter().any(|mark| {
                        let text = mark.to_string();
                        text.to_lowercase().contains(tier)
                            && text.contains(&partition.to_string())
                            && find(mark, field).is_some_and(|seq| seq >= last)
                    });
                    if last > 0 && !reached {
                        return false;
                    }
                }
                true
            },
        )
        .await;
    }

    /// Flushes the hot tier and waits until warm has dropped the events, so that only cold has
    /// them.
    pub(crate) async fn until_only_cold(&self, posted: &[String]) {
        self.valkey.flush().await;
        let conversation = agents::conversation(&posted[0]);
        eventually_within(
            WAIT_TIMEOUT,
            "only the cold tier has the events",
            async || {
                let answer = self.read(&conversation).await;
                answer.complete && answer.tiers.iter().map(String::as_str).eq(["cold"])
            },
        )
        .await;
    }
}

/// The first number named `field`, at any depth.
fn find(value: &Value, field: &str) -> Option<u64> {
    match value {
        Value::Object(members) => members
            .get(field)
            .and_then(Value::as_u64)
            .or_else(|| members.values().find_map(|value| find(value, field))),
        _ => None,
    }
}
