//! Gaps: ranges that the log, warm and cold have lost. The compactor lists those that are open; a person
//! accepts one, and then the archiver commits past it.

use event::{PartitionId, SeqRange, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    bucket::Bucket,
    error::{Error, Result},
    log::EventLog,
    names,
    watermark::micros,
};

const OPEN_PREFIX: &str = "open.";
const ACCEPTED_PREFIX: &str = "accepted.";

/// A range of one partition: `g1p07e1:3-9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GapRange {
    pub partition: PartitionId,
    pub range: SeqRange,
}

impl std::fmt::Display for GapRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.partition, self.range)
    }
}

impl std::str::FromStr for GapRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, ':').ok_or_else(|| {
            format!("{text:?} is not a range of a partition; write it as g1p07e1:3-9")
        })
    }
}

fn parse(text: &str, separator: char) -> Option<GapRange> {
    let (partition, range) = text.split_once(separator)?;
    let (lo, hi) = range.split_once('-')?;
    Some(GapRange {
        partition: names::parse_partition(partition)?,
        range: SeqRange::new(lo.parse().ok()?, hi.parse().ok()?)?,
    })
}

/// A gap that nothing will fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenGap {
    pub range: SeqRange,
    /// When the compactor found it.
    pub since: Timestamp,
    /// How it came to be.
    pub reason: String,
}

/// A person's consent to the loss of a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedGap {
    /// When.
    #[serde(with = "micros")]
    pub at: Option<Timestamp>,
    /// Who.
    pub by: String,
    pub reason: String,
}

/// The JSON form of an [`OpenGap`].
#[derive(Serialize, Deserialize)]
struct OpenGapJson {
    lo: u64,
    hi: u64,
    #[serde(with = "micros")]
    since: Option<Timestamp>,
    reason: String,
}

impl EventLog {
    /// Publishes the open gaps of `partition`, in place of those that were published before.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn publish_open_gaps(&self, partition: PartitionId, gaps: &[OpenGap]) -> Result<()> {
        let gaps = gaps.iter().map(|gap| OpenGapJson {
            lo: gap.range.lo,
            hi: gap.range.hi,
            since: Some(gap.since),
            reason: gap.reason.clone(),
        });
        let json = serde_json::to_vec(&gaps.collect::<Vec<_>>());
        let json = json.expect("a gap always has a JSON form");
        let key = format!("{OPEN_PREFIX}{partition}");
        self.gap_bucket().put(&key, json).await
    }

    /// Reads the open gaps of all partitions, ascending. Those that were accepted stay open until the
    /// archiver has committed past them.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry. [`Error::Damaged`] if a list cannot be parsed.
    pub async fn open_gaps(&self) -> Result<Vec<(PartitionId, OpenGap)>> {
        let mut open = Vec::new();
        for key in self.gap_bucket().keys().await? {
            let partition = key.strip_prefix(OPEN_PREFIX);
            let Some(partition) = partition.and_then(names::parse_partition) else {
                continue;
            };
            let gaps: Vec<OpenGapJson> = read(self.gap_bucket(), &key).await?.unwrap_or_default();
            open.extend(gaps.into_iter().filter_map(|gap| {
                let range = SeqRange::new(gap.lo, gap.hi)?;
                let since = gap.since.unwrap_or_default();
                let reason = gap.reason;
                Some((
                    partition,
                    OpenGap {
                        range,
                        since,
                        reason,
                    },
                ))
            }));
        }
        open.sort_by_key(|(partition, gap)| (*partition, gap.range));
        Ok(open)
    }

    /// Records that the loss of `gap` is accepted; false if it was before.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn accept_gap(&self, gap: GapRange, accepted: &AcceptedGap) -> Result<bool> {
        let json = serde_json::to_vec(accepted).expect("a gap always has a JSON form");
        let key = format!("{ACCEPTED_PREFIX}{}.{}", gap.partition, gap.range);
        self.gap_bucket().create(&key, json).await
    }

    /// Reads the accepted gaps of all partitions, ascending.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry. [`Error::Damaged`] if one cannot be parsed.
    pub async fn accepted_gaps(&self) -> Result<Vec<(GapRange, AcceptedGap)>> {
        let mut all = Vec::new();
        for key in self.gap_bucket().keys().await? {
            let range = key.strip_prefix(ACCEPTED_PREFIX);
            let Some(range) = range.and_then(|text| parse(text, '.')) else {
                continue;
            };
            let accepted = read(self.gap_bucket(), &key).await?;
            all.extend(accepted.map(|accepted| (range, accepted)));
        }
        all.sort_by_key(|(range, _)| *range);
        Ok(all)
    }
}

async fn read<T: for<'de> Deserialize<'de>>(bucket: &Bucket, key: &str) -> Result<Option<T>> {
    let json = bucket.get(key).await?;
    let parsed = json.map(|json| serde_json::from_slice(&json)).transpose();
    parsed.map_err(|error| Error::Damaged {
        what: key.to_owned(),
        source: error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::{GapRange, PartitionId, SeqRange};

    #[test]
    fn a_range_of_a_partition_survives_its_text() {
        let gap = GapRange {
            partition: PartitionId::first(7),
            range: SeqRange { lo: 3, hi: 9 },
        };
        assert_eq!(gap.to_string(), "g1p07e1:3-9");
        assert_eq!("g1p07e1:3-9".parse(), Ok(gap));
        for text in ["", "g1p07e1", "g1p07e1:9-3", "g1p07e1:3", "3-9", "x:3-9"] {
            text.parse::<GapRange>().unwrap_err();
        }
    }
}
