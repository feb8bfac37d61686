//! The load generator: prepares all requests, then posts them over a few connections, one request at a
//! time on each.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use serde::Deserialize;
use tokio::task::JoinSet;
use url::Url;

use crate::client::{Client, NDJSON};

/// Number of concurrent requests.
const LOAD_CONNECTIONS: usize = 4;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The result of posting all requests.
#[derive(Debug, Default)]
pub(super) struct LoadResult {
    pub(super) acked: usize,
    /// Latency of each request, ascending.
    pub(super) latencies: Vec<Duration>,
    /// Per partition, the last sequence of its log with an event of the load.
    pub(super) targets: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct LoadReceipt {
    acked: usize,
    watermark: BTreeMap<String, u64>,
}

/// Cuts NDJSON into bodies of at most `batch` lines, without copying. Returns the number of lines too.
pub(super) fn requests(file: &Bytes, batch: usize) -> (usize, Vec<Bytes>) {
    let (mut lines, mut from, mut bodies) = (0, 0, Vec::new());
    let ends = file.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    for (end, _) in ends {
        lines += 1;
        if lines % batch == 0 {
            bodies.push(file.slice(from..=end));
            from = end + 1;
        }
    }
    if from < file.len() {
        bodies.push(file.slice(from..));
        lines += usize::from(!file.ends_with(b"\n"));
    }
    (lines, bodies)
}

/// Posts all requests, in no particular order.
pub(super) async fn post(client: &Client, requests: Vec<Bytes>) -> anyhow::Result<LoadResult> {
    let (url, requests) = (client.url(&["v1", "events"]), Arc::new(requests));
    let next = Arc::new(AtomicUsize::new(0));
    let mut connections = JoinSet::new();
    for _ in 0..LOAD_CONNECTIONS {
        let (client, url) = (client.clone(), url.clone());
        let (requests, next) = (Arc::clone(&requests), Arc::clone(&next));
        connections.spawn(async move {
            let mut load = LoadResult::default();
            while let Some(body) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                load.post(&client, url.clone(), body.clone()).await?;
            }
            anyhow::Ok(load)
        });
    }
    let mut all = LoadResult::default();
    while let Some(load) = connections.join_next().await {
        all.add(load.context("a connection")??);
    }
    all.latencies.sort_unstable();
    Ok(all)
}

impl LoadResult {
    async fn post(&mut self, client: &Client, url: Url, body: Bytes) -> anyhow::Result<()> {
        let request = client.post(url, NDJSON, Vec::new()).body(body);
        let started = Instant::now();
        let response = client.send(request.timeout(REQUEST_TIMEOUT)).await?;
        let body = response.bytes().await.context("read the receipt")?;
        self.latencies.push(started.elapsed());
        let receipt: LoadReceipt = serde_json::from_slice(&body).context("read the receipt")?;
        self.acked += receipt.acked;
        self.raise_targets(receipt.watermark);
        Ok(())
    }

    fn add(&mut self, other: Self) {
        self.acked += other.acked;
        self.latencies.extend(other.latencies);
        self.raise_targets(other.targets);
    }

    fn raise_targets(&mut self, targets: BTreeMap<String, u64>) {
        for (partition, seq) in targets {
            let target = self.targets.entry(partition).or_default();
            *target = seq.max(*target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_hold_every_line_once_and_in_order() {
        for (text, counts) in [
            ("", vec![]),
            ("a\n", vec![1]),
            ("a\nb\nc\nd\n", vec![2, 2]),
            ("a\nb\nc\nd\ne", vec![2, 2, 1]),
            ("a\nb\nc", vec![2, 1]),
        ] {
            let file = Bytes::from(text);
            let (lines, bodies) = requests(&file, 2);
            assert_eq!(lines, text.lines().count());
            assert_eq!(bodies.concat(), text.as_bytes());
            let found: Vec<usize> = bodies
                .iter()
                .map(|body| str::from_utf8(body).unwrap().lines().count())
                .collect();
            assert_eq!(found, counts, "{text:?}");
        }
    }
}
