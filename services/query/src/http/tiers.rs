//! `GET /v1/tiers` and `GET /v1/watermarks`: the size of each tier, and how far each is.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use event::{PartitionId, Timestamp};
use event_log::{LogState, Tier, Watermark};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::{
    error::{QueryError, Result},
    service::{QueryService, Shared},
};

/// States of the log read at once; no reason but to bound the load on the log.
const MAX_CONCURRENT_STATE_READS: usize = 16;

/// The content of one tier, over all partitions.
#[derive(Default)]
struct TierSize {
    events: u64,
    bytes: u64,
    oldest_at: Option<Timestamp>,
}

pub(super) async fn tiers(State(service): State<Shared>) -> Result<Json<Value>> {
    let (watermarks, states) = service.bounded(read_progress(&service)).await?;
    let mut by_tier: BTreeMap<Tier, TierSize> = BTreeMap::new();
    for watermark in &watermarks {
        let (events, bytes, oldest) = sizes(watermark);
        let size = by_tier.entry(watermark.tier()).or_default();
        size.events += events;
        size.bytes += bytes;
        size.oldest_at = [size.oldest_at, oldest].into_iter().flatten().min();
    }
    let tiers: Vec<Value> = [Tier::Hot, Tier::Warm, Tier::Cold]
        .into_iter()
        .map(|tier| (tier, by_tier.remove(&tier).unwrap_or_default()))
        .map(|(tier, size)| {
            json!({
                "tier": tier.as_str(),
                "events": size.events,
                "bytes": size.bytes,
                "bytes_per_event": per_event(size.bytes, size.events),
                "oldest_at": size.oldest_at.map(|time| time.to_string()),
            })
        })
        .collect();
    let messages: u64 = states.values().map(|state| state.messages).sum();
    let bytes: u64 = states.values().map(|state| state.bytes).sum();
    Ok(Json(json!({
        "tiers": tiers,
        "log": {"messages": messages, "bytes": bytes},
        "partitions": partitions(&watermarks, &states),
    })))
}

pub(super) async fn watermarks(State(service): State<Shared>) -> Result<Json<Value>> {
    let (watermarks, states) = service.bounded(read_progress(&service)).await?;
    let store = service
        .sources
        .log
        .store_id()
        .await
        .map_err(log_unavailable)?;
    Ok(Json(json!({
        "store": store.map(|id| id.to_string()),
        "partitions": partitions(&watermarks, &states),
    })))
}

/// Reads the watermarks of all tiers and the state of every partition's log.
async fn read_progress(
    service: &QueryService,
) -> Result<(Vec<Watermark>, BTreeMap<PartitionId, LogState>)> {
    let log = &service.sources.log;
    let watermarks = log.watermarks().await.map_err(log_unavailable)?;
    let states = stream::iter(service.partitions.all())
        .map(async |partition| {
            Ok((
                partition,
                log.state(partition).await.map_err(log_unavailable)?,
            ))
        })
        .buffer_unordered(MAX_CONCURRENT_STATE_READS)
        .collect::<Vec<Result<_>>>()
        .await;
    let states = states.into_iter().collect::<Result<_>>()?;
    Ok((watermarks, states))
}

fn log_unavailable(_: event_log::Error) -> QueryError {
    QueryError::unavailable(
        "log_unavailable",
        "the event log does not answer now; retry",
    )
}

fn partitions(watermarks: &[Watermark], states: &BTreeMap<PartitionId, LogState>) -> Vec<Value> {
    let one = |(partition, state): (&PartitionId, &LogState)| {
        let mut value = json!({
            "partition": partition.to_string(),
            "log": {"first": state.first, "last": state.last, "messages": state.messages},
        });
        for watermark in watermarks
            .iter()
            .filter(|watermark| watermark.partition() == *partition)
        {
            value[watermark.tier().as_str()] = progress(watermark);
        }
        value
    };
    states.iter().map(one).collect()
}

fn progress(watermark: &Watermark) -> Value {
    let (events, bytes, oldest_at) = sizes(watermark);
    let mut value = match watermark {
        Watermark::Hot {
            floor,
            last,
            checked,
            ..
        } => json!({"floor": floor, "last": last, "checked": checked}),
        Watermark::Warm {
            committed, sealed, ..
        } => json!({"committed": committed, "sealed": sealed}),
        Watermark::Cold { committed, .. } => json!({"committed": committed}),
    };
    value["events"] = json!(events);
    value["bytes"] = json!(bytes);
    value["oldest_at"] = json!(oldest_at.map(|time| time.to_string()));
    value
}

fn sizes(watermark: &Watermark) -> (u64, u64, Option<Timestamp>) {
    match watermark {
        Watermark::Hot {
            events,
            bytes,
            oldest_at,
            ..
        }
        | Watermark::Warm {
            events,
            bytes,
            oldest_at,
            ..
        }
        | Watermark::Cold {
            events,
            bytes,
            oldest_at,
            ..
        } => (*events, *bytes, *oldest_at),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a ratio to look at, with one digit of fraction"
)]
fn per_event(bytes: u64, events: u64) -> Option<f64> {
    (events > 0).then(|| (bytes as f64 / events as f64 * 10.0).round() / 10.0)
}
