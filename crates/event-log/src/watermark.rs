//! Watermarks: up to where each tier is complete, published after the commit that they describe.

use std::time::Duration;

use event::{PartitionId, Seq, Timestamp};
use futures::{Stream, StreamExt as _, stream, stream::BoxStream};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{
    error::{Error, Result},
    log::EventLog,
};

/// A watch without a change for so long is opened again, in case it is broken.
const WATCH_IDLE_TIMEOUT: Duration = Duration::from_secs(15);
const WATCH_RETRY_PAUSE: Duration = Duration::from_millis(500);
/// The number of concurrent reads of keys: no reason but to bound them.
const MAX_CONCURRENT_GETS: usize = 16;

/// The progress of one tier in one partition. Sequences are those of the log; `events` and `bytes`
/// count what the tier has; `oldest_at` is the `received_at` of its oldest event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "tier", rename_all = "lowercase")]
pub enum Watermark {
    Hot {
        #[serde(with = "partition_text")]
        partition: PartitionId,
        /// The smallest sequence from which the tier has everything.
        floor: Seq,
        /// The last sequence in the tier.
        last: Seq,
        /// The sequence through which duplicates are known and filtered out.
        checked: Seq,
        events: u64,
        bytes: u64,
        #[serde(with = "micros", default)]
        oldest_at: Option<Timestamp>,
    },
    Warm {
        #[serde(with = "partition_text")]
        partition: PartitionId,
        /// The last sequence in the open part or a slice. Behind a restart it begins again at `sealed`.
        committed: Seq,
        /// The last sequence in a slice.
        sealed: Seq,
        events: u64,
        bytes: u64,
        #[serde(with = "micros", default)]
        oldest_at: Option<Timestamp>,
        /// The URL of the Arrow Flight server that has this partition.
        flight_url: String,
    },
    Cold {
        #[serde(with = "partition_text")]
        partition: PartitionId,
        /// The last sequence committed to the table.
        committed: Seq,
        events: u64,
        bytes: u64,
        #[serde(with = "micros", default)]
        oldest_at: Option<Timestamp>,
    },
}

/// The tier of a watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    Hot,
    Warm,
    Cold,
}

impl Tier {
    /// The tier's name: `hot`, `warm` or `cold`.
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
    /// The tier that the watermark describes.
    #[must_use]
    pub fn tier(&self) -> Tier {
        match self {
            Self::Hot { .. } => Tier::Hot,
            Self::Warm { .. } => Tier::Warm,
            Self::Cold { .. } => Tier::Cold,
        }
    }

    /// The partition that the watermark describes.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        match self {
            Self::Hot { partition, .. }
            | Self::Warm { partition, .. }
            | Self::Cold { partition, .. } => *partition,
        }
    }

    fn key(&self) -> String {
        key(self.tier(), self.partition())
    }
}

/// The key in the bucket: `warm.g1p07e1`.
fn key(tier: Tier, partition: PartitionId) -> String {
    format!("{}.{partition}", tier.as_str())
}

impl EventLog {
    /// Publishes `watermark`. Call it after the commit that it describes, never before.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry, or leave it to the next watermark.
    pub async fn publish_watermark(&self, watermark: &Watermark) -> Result<()> {
        let json = serde_json::to_vec(watermark).expect("a watermark always has a JSON form");
        self.watermark_bucket().put(&watermark.key(), json).await
    }

    /// Reads the watermarks of all tiers and partitions, in no order.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry. [`Error::Damaged`] if one cannot be parsed: permanent.
    pub async fn watermarks(&self) -> Result<Vec<Watermark>> {
        let keys = self.watermark_bucket().keys().await?;
        let read = stream::iter(keys).map(async |key| {
            let value = self.watermark_bucket().get(&key).await?;
            value.map(|json| parse(&key, &json)).transpose()
        });
        let read: Vec<Result<Option<Watermark>>> =
            read.buffered(MAX_CONCURRENT_GETS).collect().await;
        read.into_iter().filter_map(Result::transpose).collect()
    }

    /// Reads the last sequence of `partition` in the open segment or a slice of warm; 0 before there is one.
    ///
    /// # Errors
    /// The same as [`EventLog::watermarks`].
    pub(crate) async fn warm_committed(&self, partition: PartitionId) -> Result<Seq> {
        let key = key(Tier::Warm, partition);
        let json = self.watermark_bucket().get(&key).await?;
        match json.map(|json| parse(&key, &json)).transpose()? {
            Some(Watermark::Warm { committed, .. }) => Ok(committed),
            _ => Ok(0),
        }
    }

    /// Streams every current watermark, then every change; some are repeated. Never ends and never
    /// fails: it yields nothing while the log cannot be reached.
    pub fn watch_watermarks(&self) -> impl Stream<Item = Watermark> + Send + Unpin + use<> {
        let watch = WatermarkWatch {
            log: self.clone(),
            entries: None,
        };
        Box::pin(stream::unfold(watch, |mut watch| async {
            Some((watch.next().await, watch))
        }))
    }
}

/// The state of one watch; `entries` is `None` while it is not open.
struct WatermarkWatch {
    log: EventLog,
    entries: Option<BoxStream<'static, Result<async_nats::jetstream::kv::Entry>>>,
}

impl WatermarkWatch {
    async fn next(&mut self) -> Watermark {
        loop {
            let Some(entries) = &mut self.entries else {
                match self.log.watermark_bucket().watch().await {
                    Ok(entries) => self.entries = Some(entries.boxed()),
                    Err(error) => pause_after(&error).await,
                }
                continue;
            };
            match tokio::time::timeout(WATCH_IDLE_TIMEOUT, entries.next()).await {
                Ok(Some(Ok(entry))) => match parse(&entry.key, &entry.value) {
                    Ok(watermark) => return watermark,
                    Err(error) => warn!(
                        error = &error as &dyn std::error::Error,
                        "damaged watermark skipped"
                    ),
                },
                Ok(Some(Err(error))) => {
                    self.entries = None;
                    pause_after(&error).await;
                }
                Ok(None) | Err(_) => self.entries = None,
            }
        }
    }
}

async fn pause_after(error: &Error) {
    warn!(
        error = error as &dyn std::error::Error,
        "watch of watermarks failed, will retry"
    );
    tokio::time::sleep(WATCH_RETRY_PAUSE).await;
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

pub(crate) mod micros {
    use event::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(Timestamp::as_micros).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::deserialize(from)?.map(Timestamp::from_micros))
    }
}
