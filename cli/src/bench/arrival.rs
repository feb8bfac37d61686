//! Waits until a tier has the events. The cursors of the hot tier are read from its server: the
//! watermark is published only a few times a second, too coarse for a short run.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use crate::client::{Client, JSON};

/// A sequence for each partition: the target, or how far a tier is.
type PartitionSeqs = BTreeMap<String, u64>;

const HOT_POLL_INTERVAL: Duration = Duration::from_millis(5);
const WARM_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Time without progress after which the run fails.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Reader of the hot tier's cursors, by the protocol of Redis.
#[derive(Debug)]
pub(super) struct HotCursors {
    server: BufReader<TcpStream>,
}

impl HotCursors {
    pub(super) async fn connect(address: &str) -> anyhow::Result<Self> {
        let server = TcpStream::connect(address)
            .await
            .with_context(|| format!("connect to the hot tier at {address}"))?;
        let server = BufReader::new(server);
        Ok(Self { server })
    }

    /// Waits until every cursor has reached its target. Fails after [`STALL_TIMEOUT`] without progress.
    pub(super) async fn wait(&mut self, targets: &PartitionSeqs) -> anyhow::Result<()> {
        let mut progress = Progress::new("hot");
        loop {
            let mut reached = PartitionSeqs::new();
            for partition in targets.keys() {
                let last = self.last(partition).await.context("read a hot cursor")?;
                reached.insert(partition.clone(), last);
            }
            if progress.is_done(targets, reached)? {
                return Ok(());
            }
            tokio::time::sleep(HOT_POLL_INTERVAL).await;
        }
    }

    /// The last sequence of a partition; 0 without a cursor.
    async fn last(&mut self, partition: &str) -> anyhow::Result<u64> {
        let (slot, _epoch) = partition
            .rsplit_once('e')
            .context("a partition has an epoch")?;
        let command = format!("HGET {{{slot}}}:cursor last\r\n");
        self.server.write_all(command.as_bytes()).await?;
        let length = self.line().await?;
        if length == "$-1" {
            return Ok(0);
        }
        anyhow::ensure!(length.starts_with('$'), "the server answered {length}");
        Ok(self.line().await?.parse()?)
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.server.read_line(&mut line).await?;
        anyhow::ensure!(line.ends_with('\n'), "the server closed the connection");
        Ok(line.trim_end().to_owned())
    }
}

/// Reader of the warm tier's watermarks, from the query service.
#[derive(Debug)]
pub(super) struct WarmWatermarks {
    query: Client,
}

#[derive(Deserialize)]
struct WatermarksAnswer {
    partitions: Vec<PartitionWatermarks>,
}

#[derive(Deserialize)]
struct PartitionWatermarks {
    partition: String,
    warm: Option<WarmWatermark>,
}

#[derive(Deserialize)]
struct WarmWatermark {
    committed: u64,
}

impl WarmWatermarks {
    pub(super) fn new(query: Client) -> Self {
        Self { query }
    }

    /// Waits until every partition is committed up to its target. Fails after [`STALL_TIMEOUT`] without
    /// progress.
    pub(super) async fn wait(&self, targets: &PartitionSeqs) -> anyhow::Result<()> {
        let mut progress = Progress::new("warm");
        loop {
            let reached = self.committed().await.context("read the watermarks")?;
            if progress.is_done(targets, reached)? {
                return Ok(());
            }
            tokio::time::sleep(WARM_POLL_INTERVAL).await;
        }
    }

    async fn committed(&self) -> anyhow::Result<PartitionSeqs> {
        let url = self.query.url(&["v1", "watermarks"]);
        let response = self.query.send(self.query.get(url, JSON)).await?;
        let known: WatermarksAnswer = serde_json::from_slice(&response.bytes().await?)?;
        let committed = known
            .partitions
            .into_iter()
            .filter_map(|own| Some((own.partition, own.warm?.committed)));
        Ok(committed.collect())
    }
}

/// The sequences that a tier has reached, and when they last changed.
#[derive(Debug)]
struct Progress {
    tier: &'static str,
    reached: PartitionSeqs,
    changed_at: Instant,
}

impl Progress {
    fn new(tier: &'static str) -> Self {
        Self {
            tier,
            reached: PartitionSeqs::new(),
            changed_at: Instant::now(),
        }
    }

    fn is_done(&mut self, targets: &PartitionSeqs, reached: PartitionSeqs) -> anyhow::Result<bool> {
        if reached != self.reached {
            (self.reached, self.changed_at) = (reached, Instant::now());
        }
        let behind = targets.iter().find(|(partition, target)| {
            self.reached.get(*partition).is_none_or(|seq| seq < target)
        });
        match behind {
            None => Ok(true),
            Some((partition, target)) if self.changed_at.elapsed() > STALL_TIMEOUT => bail!(
                "the {} tier stands still at {:?} of {target} in partition {partition}",
                self.tier,
                self.reached.get(partition).copied().unwrap_or(0),
            ),
            Some(_) => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seqs(list: &[(&str, u64)]) -> PartitionSeqs {
        let list = list.iter().map(|(name, seq)| ((*name).to_owned(), *seq));
        list.collect()
    }

    #[test]
    fn a_tier_is_done_when_its_last_partition_is() {
        let wanted = seqs(&[("g1p00e1", 5), ("g1p01e1", 7)]);
        let mut progress = Progress::new("hot");
        let mut is_done = |list: &[(&str, u64)]| progress.is_done(&wanted, seqs(list)).unwrap();
        assert!(!is_done(&[]));
        assert!(!is_done(&[("g1p01e1", 9)]));
        assert!(!is_done(&[("g1p00e1", 4), ("g1p01e1", 7)]));
        assert!(is_done(&[("g1p00e1", 5), ("g1p01e1", 9)]));
    }

    #[test]
    fn the_answer_of_the_query_service_is_understood() {
        let json = r#"{"partitions": [
            {"partition": "g1p00e1", "log": {"last": 9}, "warm": {"committed": 7, "sealed": 2}},
            {"partition": "g1p01e1", "log": {"last": 0}}
        ]}"#;
        let known: WatermarksAnswer = serde_json::from_str(json).unwrap();
        assert_eq!(known.partitions[0].warm.as_ref().unwrap().committed, 7);
        assert!(known.partitions[1].warm.is_none());
    }
}
