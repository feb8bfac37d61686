//! One live file of a table, as its log entry describes it.

use std::{collections::HashMap, fmt::Write as _};

use deltalake_core::kernel::{Add, Remove};
use event::{PartitionId, Seq, SeqRange, Timestamp};
use retention::Class;
use serde::Deserialize;

use crate::table::Table;

const CLASS: &str = "isotherm.class";
const RANGE: &str = "isotherm.range";
const SHA256: &str = "isotherm.sha256";
const SAMPLED: &str = "isotherm.sampled";
const RECEIVED_MAX: &str = "isotherm.received_max";
const NOT_SAMPLED: &str = "false";

/// A file that the log names. What another engine wrote has no [`Provenance`]; it is read, but
/// never rewritten or expired.
#[derive(Clone, Debug, PartialEq)]
pub struct ColdFile {
    pub table: Table,
    /// Within the table.
    pub path: String,
    /// Partition columns, `events` only.
    pub tenant: Option<String>,
    /// The UTC day of the event time, `2026-11-20`.
    pub dt: Option<String>,
    pub rows: u64,
    pub bytes: u64,
    pub provenance: Option<Provenance>,
    pub extent: Extent,
}

/// Where the rows of a file come from: the tags of its log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// `None` for rollups, which are kept for ever.
    pub class: Option<Class>,
    pub ranges: Vec<(PartitionId, SeqRange)>,
    pub sha256: String,
    /// The hash of the rules by which the rows were thinned.
    pub sampled: Option<String>,
    /// When the log took the newest row.
    pub received_max: Timestamp,
}

/// Least and greatest values, from the statistics; `None` where they are not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    pub conversation: Option<(String, String)>,
    pub timestamp: Option<(Timestamp, Timestamp)>,
    pub received_at: Option<(Timestamp, Timestamp)>,
    pub seq: Option<(Seq, Seq)>,
    pub partition: Option<(i64, i64)>,
}

impl ColdFile {
    pub(crate) fn from_add(table: Table, add: Add) -> Self {
        let stats: Stats = add
            .stats
            .as_deref()
            .and_then(|stats| serde_json::from_str(stats).ok())
            .unwrap_or_default();
        let mut values = add.partition_values;
        let mut value = |name| values.remove(name).flatten();
        Self {
            table,
            tenant: value("tenant"),
            dt: value("dt"),
            rows: stats.num_records,
            bytes: u64::try_from(add.size).unwrap_or(0),
            provenance: add.tags.and_then(|tags| Provenance::from_tags(&tags)),
            extent: stats.extent(),
            path: add.path,
        }
    }

    /// The partition columns and their values.
    pub(crate) fn partition_values(&self) -> HashMap<String, Option<String>> {
        let columns = self.table.partition_columns().iter();
        columns
            .map(|name| {
                let value = match *name {
                    "tenant" => self.tenant.clone(),
                    _ => self.dt.clone(),
                };
                ((*name).to_owned(), value)
            })
            .collect()
    }

    pub(crate) fn remove(&self, data_change: bool, now: Timestamp) -> Remove {
        Remove {
            path: self.path.clone(),
            data_change,
            deletion_timestamp: Some(now.as_micros() / 1000),
            extended_file_metadata: Some(true),
            partition_values: Some(self.partition_values()),
            size: i64::try_from(self.bytes).ok(),
            tags: self.provenance.as_ref().map(Provenance::tags),
            ..Remove::default()
        }
    }

    /// Whether some of `range` of `partition` may lie in here.
    #[must_use]
    pub fn may_hold(&self, partition: PartitionId, range: SeqRange) -> bool {
        match &self.provenance {
            Some(provenance) => provenance
                .ranges
                .iter()
                .any(|(own, held)| *own == partition && held.intersect(&range).is_some()),
            None => true,
        }
    }
}

impl Provenance {
    pub(crate) fn tags(&self) -> HashMap<String, Option<String>> {
        let mut tags = HashMap::new();
        let mut tag = |name: &str, value: String| tags.insert(name.to_owned(), Some(value));
        if let Some(class) = self.class {
            tag(CLASS, class.to_string());
        }
        tag(RANGE, ranges_text(&self.ranges));
        tag(SHA256, self.sha256.clone());
        let sampled = self.sampled.as_deref().unwrap_or(NOT_SAMPLED);
        tag(SAMPLED, sampled.to_owned());
        tag(RECEIVED_MAX, self.received_max.to_string());
        tags
    }

    fn from_tags(tags: &HashMap<String, Option<String>>) -> Option<Self> {
        let tag = |name: &str| tags.get(name)?.as_deref();
        Some(Self {
            class: tag(CLASS).map(str::parse).transpose().ok()?,
            ranges: parse_ranges(tag(RANGE)?)?,
            sha256: tag(SHA256)?.to_owned(),
            sampled: tag(SAMPLED)
                .filter(|sampled| *sampled != NOT_SAMPLED)
                .map(str::to_owned),
            received_max: tag(RECEIVED_MAX)?.parse().ok()?,
        })
    }
}

/// `g1p07e1:1-9,12-20;g1p08e1:1-5`.
pub(crate) fn ranges_text(ranges: &[(PartitionId, SeqRange)]) -> String {
    let mut text = String::new();
    let mut last = None;
    for (partition, range) in ranges {
        let written = match last.replace(*partition) {
            Some(last) if last == *partition => write!(text, ",{range}"),
            Some(_) => write!(text, ";{partition}:{range}"),
            None => write!(text, "{partition}:{range}"),
        };
        written.expect("a String takes everything");
    }
    text
}

fn parse_ranges(text: &str) -> Option<Vec<(PartitionId, SeqRange)>> {
    let mut all = Vec::new();
    for of_partition in text.split(';') {
        let (partition, ranges) = of_partition.split_once(':')?;
        let partition = parse_partition(partition)?;
        for range in ranges.split(',') {
            let (lo, hi) = range.split_once('-')?;
            let range = SeqRange::new(lo.parse().ok()?, hi.parse().ok()?)?;
            all.push((partition, range));
        }
    }
    Some(all)
}

/// The partition that `g1p07e1` names.
#[must_use]
pub fn parse_partition(text: &str) -> Option<PartitionId> {
    let (generation, rest) = text.strip_prefix('g')?.split_once('p')?;
    let (partition, epoch) = rest.split_once('e')?;
    Some(PartitionId {
        generation: generation.parse().ok()?,
        partition: partition.parse().ok()?,
        epoch: epoch.parse().ok()?,
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Stats {
    num_records: u64,
    min_values: Bounds,
    max_values: Bounds,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Bounds {
    conversation_id: Option<String>,
    timestamp: Option<String>,
    received_at: Option<String>,
    seq: Option<Seq>,
    partition: Option<i64>,
}

/// Other engines write times in milliseconds, cut off: the greatest may be up to 1 ms later.
const MILLISECOND: std::time::Duration = std::time::Duration::from_millis(1);

impl Stats {
    fn extent(self) -> Extent {
        let (min, max) = (self.min_values, self.max_values);
        let time = |text: Option<String>| text.and_then(|text| text.parse::<Timestamp>().ok());
        let latest = |text| time(text).map(|time| time.plus(MILLISECOND));
        Extent {
            conversation: min.conversation_id.zip(max.conversation_id),
            timestamp: time(min.timestamp).zip(latest(max.timestamp)),
            received_at: time(min.received_at).zip(latest(max.received_at)),
            seq: min.seq.zip(max.seq),
            partition: min.partition.zip(max.partition),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PartitionId, SeqRange, parse_partition, parse_ranges, ranges_text};

    #[test]
    fn ranges_survive_their_text() {
        let (first, second) = (PartitionId::first(7), PartitionId::first(108));
        let range = |lo, hi| SeqRange { lo, hi };
        let ranges = vec![
            (first, range(1, 9)),
            (first, range(12, 20)),
            (second, range(1, 5)),
        ];
        let text = ranges_text(&ranges);
        assert_eq!(text, "g1p07e1:1-9,12-20;g1p108e1:1-5");
        assert_eq!(parse_ranges(&text), Some(ranges));
        for text in ["", "g1p07e1", "g1p07e1:2-1", "g1p07:1-2", "x:1-2"] {
            assert_eq!(parse_ranges(text), None, "{text}");
        }
        assert_eq!(parse_partition("g1p07e1"), Some(first));
    }
}
