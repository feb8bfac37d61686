//! How far each tier is, published after the commit it speaks of.

use std::time::Duration;

use event::{PartitionId, Seq, Timestamp};
use futures::{Stream, StreamExt as _, stream, stream::BoxStream};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{
    error::{Error, Result},
    log::EventLog,
};

/// A watch that has said nothing for so long is made anew.
const QUIET: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(500);

/// How far one tier is in one partition. Sequences are of the log; `events` and `bytes` are what
/// the tier holds; `oldest_at` is when the log took the oldest event that it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "tier", rename_all = "lowercase")]
pub enum Watermark {
    Hot {
        #[serde(with = "partition_text")]
        partition: PartitionId,
        /// Everything from here on is in the tier.
        floor: Seq,
        last: Seq,
        /// Duplicates up to here are known and hidden.
        checked: Seq,
        events: u64,
        bytes: u64,
        #[serde(with = "micros", default)]
        oldest_at: Option<Timestamp>,
    },
    Warm {
        #[serde(with = "partition_text")]
        partition: PartitionId,
        committed: Seq,
        sealed: Seq,
        events: u64,
        bytes: u64,
        #[serde(with = "micros", default)]
        oldest_at: Option<Timestamp>,
        /// Where this partition's segments are served.
        flight_url: String,
    },
    Cold {
        #[serde(with = "partition_text")]
        partition: PartitionId,
        committed: Seq,
        events: u64,
        bytes: u64,
        #[serde(with = "micros", default)]
        oldest_at: Option<Timestamp>,
    },
}

/// Which tier a watermark speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    Hot,
    Warm,
    Cold,
}

impl Tier {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Warm => "warm",
            Self::Cold => "cold",
        }
    }
}

impl Watermark {
    #[must_use]
    pub fn tier(&self) -> Tier {
        match self {
            Self::Hot { .. } => Tier::Hot,
            Self::Warm { .. } => Tier::Warm,
            Self::Cold { .. } => Tier::Cold,
        }
    }

    #[must_use]
    pub fn partition(&self) -> PartitionId {
        match self {
            Self::Hot { partition, .. }
            | Self::Warm { partition, .. }
            | Self::Cold { partition, .. } => *partition,
        }
    }

    fn key(&self) -> String {
        format!("{}.{}", self.tier().as_str(), self.partition())
    }
}

impl EventLog {
    /// Publishes `watermark`. Call it after the commit that it speaks of, never before.
    pub async fn publish_watermark(&self, watermark: &Watermark) -> Result<()> {
        let json = serde_json::to_vec(watermark).expect("a watermark always has a JSON form");
        self.watermark_bucket().put(&watermark.key(), json).await
    }

    /// Every watermark there is.
    pub async fn watermarks(&self) -> Result<Vec<Watermark>> {
        let keys = self.watermark_bucket().keys().await?;
        let read = stream::iter(keys).map(async |key| {
            let value = self.watermark_bucket().get(&key).await?;
            value.map(|json| parse(&key, &json)).transpose()
        });
        let read: Vec<Result<Option<Watermark>>> = read.buffered(16).collect().await;
        read.into_iter().filter_map(Result::transpose).collect()
    }

    /// Every watermark there is, then every change; some come again. Never ends and never fails:
    /// while the log cannot be reached, nothing comes.
    pub fn watch_watermarks(&self) -> impl Stream<Item = Watermark> + Send + Unpin + use<> {
        let watch = Watch {
            log: self.clone(),
            entries: None,
        };
        Box::pin(stream::unfold(watch, |mut watch| async {
            Some((watch.next().await, watch))
        }))
    }
}

struct Watch {
    log: EventLog,
    entries: Option<BoxStream<'static, Result<async_nats::jetstream::kv::Entry>>>,
}

impl Watch {
    async fn next(&mut self) -> Watermark {
        loop {
            let Some(entries) = &mut self.entries else {
                match self.log.watermark_bucket().watch().await {
                    Ok(entries) => self.entries = Some(entries.boxed()),
                    Err(error) => pause(&error).await,
                }
                continue;
            };
            match tokio::time::timeout(QUIET, entries.next()).await {
                Ok(Some(Ok(entry))) => match parse(&entry.key, &entry.value) {
                    Ok(watermark) => return watermark,
                    Err(error) => warn!(error = &error as &dyn std::error::Error, "passed over"),
                },
                Ok(Some(Err(error))) => {
                    self.entries = None;
                    pause(&error).await;
                }
                Ok(None) | Err(_) => self.entries = None,
            }
        }
    }
}

async fn pause(error: &Error) {
    warn!(error = error as &dyn std::error::Error, "will watch again");
    tokio::time::sleep(PAUSE).await;
}

fn parse(key: &str, json: &[u8]) -> Result<Watermark> {
    serde_json::from_slice(json).map_err(|error| Error::Damaged {
        what: key.to_owned(),
        source: error.into(),
    })
}

mod partition_text {
    use event::PartitionId;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::names;

    pub(super) fn serialize<S: Serializer>(id: &PartitionId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PartitionId, D::Error> {
        let text = String::deserialize(from)?;
        names::parse_partition(&text).ok_or_else(|| D::Error::custom("not a partition"))
    }
}

mod micros {
    use event::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(Timestamp::as_micros).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::deserialize(from)?.map(Timestamp::from_micros))
    }
}
