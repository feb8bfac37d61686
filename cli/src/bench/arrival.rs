//! When the events are in a tier. The hot tier is asked for its cursors directly: its watermark is
//! published a few times a second only, which is long against the time of a short run.

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

/// The sequence of each partition's log that must be reached.
type Ends = BTreeMap<String, u64>;

const HOT_POLL: Duration = Duration::from_millis(5);
const WARM_POLL: Duration = Duration::from_millis(50);
/// Without any progress for so long, something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// The cursors of the hot tier, read in the server's own protocol.
#[derive(Debug)]
pub(super) struct Hot {
    server: BufReader<TcpStream>,
}

impl Hot {
    pub(super) async fn connect(address: &str) -> anyhow::Result<Self> {
        let server = TcpStream::connect(address)
            .await
            .with_context(|| format!("connect to the hot tier at {address}"))?;
        let server = BufReader::new(server);
        Ok(Self { server })
    }

    /// Waits until every cursor has reached its end.
    pub(super) async fn wait(&mut self, ends: &Ends) -> anyhow::Result<()> {
        let mut progress = Progress::new("hot");
        loop {
            let mut reached = Ends::new();
            for partition in ends.keys() {
                let last = self.last(partition).await.context("read a hot cursor")?;
                reached.insert(partition.clone(), last);
            }
            if progress.is_done(ends, reached)? {
                return Ok(());
            }
            tokio::time::sleep(HOT_POLL).await;
        }
    }

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

/// The watermarks of the warm tier, as the query service knows them.
#[derive(Debug)]
pub(super) struct Warm {
    query: Client,
}

#[derive(Deserialize)]
struct Watermarks {
    partitions: Vec<Partition>,
}

#[derive(Deserialize)]
struct Partition {
    partition: String,
    warm: Option<Committed>,
}

#[derive(Deserialize)]
struct Committed {
    committed: u64,
}

impl Warm {
    pub(super) fn new(query: Client) -> Self {
        Self { query }
    }

    /// Waits until every partition is committed to its end.
    pub(super) async fn wait(&self, ends: &Ends) -> anyhow::Result<()> {
        let mut progress = Progress::new("warm");
        loop {
            let reached = self.committed().await.context("read the watermarks")?;
            if progress.is_done(ends, reached)? {
                return Ok(());
            }
            tokio::time::sleep(WARM_POLL).await;
        }
    }

    async fn committed(&self) -> anyhow::Result<Ends> {
        let url = self.query.url(&["v1", "watermarks"]);
        let response = self.query.send(self.query.get(url, JSON)).await?;
        let known: Watermarks = serde_json::from_slice(&response.bytes().await?)?;
        let committed = known
            .partitions
            .into_iter()
            .filter_map(|own| Some((own.partition, own.warm?.committed)));
        Ok(committed.collect())
    }
}

/// How far a tier is, and since when.
#[derive(Debug)]
struct Progress {
    tier: &'static str,
    reached: Ends,
    since: Instant,
}

impl Progress {
    fn new(tier: &'static str) -> Self {
        Self {
            tier,
            reached: Ends::new(),
            since: Instant::now(),
        }
    }

    fn is_done(&mut self, ends: &Ends, reached: Ends) -> anyhow::Result<bool> {
        if reached != self.reached {
            (self.reached, self.since) = (reached, Instant::now());
        }
        let behind = ends
            .iter()
            .find(|(partition, end)| self.reached.get(*partition).is_none_or(|seq| seq < end));
        match behind {
            None => Ok(true),
            Some((partition, end)) if self.since.elapsed() > PATIENCE => bail!(
                "the {} tier stands still at {:?} of {end} in partition {partition}",
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

    fn ends(list: &[(&str, u64)]) -> Ends {
        let list = list.iter().map(|(name, seq)| ((*name).to_owned(), *seq));
        list.collect()
    }

    #[test]
    fn a_tier_is_there_when_its_last_partition_is() {
        let wanted = ends(&[("g1p00e1", 5), ("g1p01e1", 7)]);
        let mut progress = Progress::new("hot");
        let mut is_done = |list: &[(&str, u64)]| progress.is_done(&wanted, ends(list)).unwrap();
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
        let known: Watermarks = serde_json::from_str(json).unwrap();
        assert_eq!(known.partitions[0].warm.as_ref().unwrap().committed, 7);
        assert!(known.partitions[1].warm.is_none());
    }
}
