//! A live file of a table, as its log entry describes it.

use std::{collections::HashMap, fmt::Write as _};

use deltalake_core::kernel::{Add, Remove};
use event::{PartitionId, Seq, SeqRange, Timestamp};
use retention::Class;
use serde::Deserialize;

use crate::{day::Day, judgement::Judgement, origin::Origin, table::Table};

const CLASS_TAG: &str = "isotherm.class";
const RANGE_TAG: &str = "isotherm.range";
const SHA256_TAG: &str = "isotherm.sha256";
const SAMPLED_TAG: &str = "isotherm.sampled";
const RECEIVED_MAX_TAG: &str = "isotherm.received_max";
const MEMORY_TAG: &str = "isotherm.memory";
const ORIGIN_TAG: &str = "isotherm.origin";
/// The value of `SAMPLED_TAG` for a file at full fidelity.
const NOT_SAMPLED: &str = "false";

/// A live data file of a table. A file that another engine wrote has no [`Provenance`]; it is read,
/// but never rewritten or expired.
#[derive(Clone, Debug, PartialEq)]
pub struct ColdFile {
    /// The table that the file belongs to.
    pub table: Table,
    /// The path of the object within the table's folder, URL-decoded.
    pub path: String,
    /// Partition column of `events`: the tenant of every row. `None` in rollups.
    pub tenant: Option<String>,
    /// Partition column of `events`: the day of every row. `None` in rollups.
    pub dt: Option<Day>,
    /// Number of rows.
    pub rows: u64,
    /// Size of the object in bytes.
    pub bytes: u64,
    /// Where the rows come from; `None` for a file of another engine.
    pub provenance: Option<Provenance>,
    /// Bounds of the columns, by which scans skip the file.
    pub extent: Extent,
}

/// The origin of a file's rows, stored as tags of its log entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The retention class of every row; `None` for rollups, which are kept for ever.
    pub class: Option<Class>,
    /// The log ranges that the rows come from, ascending within each partition.
    pub ranges: Vec<(PartitionId, SeqRange)>,
    /// The SHA-256 of the object, 64 lowercase hex digits.
    pub sha256: String,
    /// The hash of the rules by which the rows were sampled; `None` at full fidelity.
    pub sampled: Option<String>,
    /// The latest `received_at` of the rows, dropped ones included.
    pub received_max: Timestamp,
    /// Bytes of the rows in memory; `None` in files of an older version.
    pub memory_bytes: Option<u64>,
    /// The rows that the file was made of; `None` in rollups and in files of an older version.
    pub origin: Option<Origin>,
    /// What the rules last said about the rows; `None` when they were not applied yet.
    pub judged: Option<Judgement>,
}

/// Least and greatest values per column (both inclusive), from the file's statistics; `None` where
/// unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Bounds of `conversation_id`.
    pub conversation: Option<(String, String)>,
    /// Bounds of the event time.
    pub timestamp: Option<(Timestamp, Timestamp)>,
    /// Bounds of the log's time.
    pub received_at: Option<(Timestamp, Timestamp)>,
    /// Bounds of the sequence.
    pub seq: Option<(Seq, Seq)>,
    /// Bounds of the partition number.
    pub partition: Option<(i64, i64)>,
}

impl ColdFile {
    /// Returns the file that an `add` action describes. Tags that cannot be parsed count as absent.
    pub(crate) fn from_add(table: Table, add: Add) -> Self {
        let stats: AddStats = add
            .stats
            .as_deref()
            .and_then(|stats| serde_json::from_str(stats).ok())
            .unwrap_or_default();
        let mut values = add.partition_values;
        let mut value = |name| values.remove(name).flatten();
        let tags = add.tags.unwrap_or_default();
        let tag = |name: &str| tags.get(name)?.as_deref();
        Self {
            table,
            tenant: value("tenant"),
            dt: value("dt").map(|date| Day::from_entry(date, tag)),
            rows: stats.num_records,
            bytes: u64::try_from(add.size).unwrap_or(0),
            provenance: Provenance::from_tags(&tags),
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
                    _ => self.dt.as_ref().map(|day| day.date.clone()),
                };
                ((*name).to_owned(), value)
            })
            .collect()
    }

    /// The tags of the log entry; `None` for a file of another engine.
    pub(crate) fn tags(&self) -> Option<HashMap<String, Option<String>>> {
        let mut tags = self.provenance.as_ref()?.tags();
        tags.extend(self.dt.as_ref().and_then(Day::tag));
        Some(tags)
    }

    /// Returns the `remove` action for this file.
    pub(crate) fn remove(&self, data_change: bool, now: Timestamp) -> Remove {
        Remove {
            path: self.path.clone(),
            data_change,
            deletion_timestamp: Some(now.as_micros() / 1000),
            extended_file_metadata: Some(true),
            partition_values: Some(self.partition_values()),
            size: i64::try_from(self.bytes).ok(),
            tags: self.tags(),
            ..Remove::default()
        }
    }

    /// The rows that the file was made of; `None` when its log entry does not say it.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        self.provenance.as_ref()?.origin
    }

    /// Returns how many of the rows that the file was made of rules have removed; `None` when that is not
    /// known: a file of an older version was sampled.
    #[must_use]
    pub fn rows_removed(&self) -> Option<u64> {
        let provenance = self.provenance.as_ref();
        let is_sampled = provenance.is_some_and(|own| own.sampled.is_some());
        match self.origin() {
            Some(origin) => Some(origin.rows.saturating_sub(self.rows)),
            None => (!is_sampled).then_some(0),
        }
    }
}

impl Provenance {
    fn tags(&self) -> HashMap<String, Option<String>> {
        let mut tags = HashMap::new();
        let mut tag = |name: &str, value: String| tags.insert(name.to_owned(), Some(value));
        if let Some(class) = self.class {
            tag(CLASS_TAG, class.to_string());
        }
        tag(RANGE_TAG, ranges_text(&self.ranges));
        tag(SHA256_TAG, self.sha256.clone());
        let sampled = self.sampled.as_deref().unwrap_or(NOT_SAMPLED);
        tag(SAMPLED_TAG, sampled.to_owned());
        tag(RECEIVED_MAX_TAG, self.received_max.to_string());
        if let Some(bytes) = self.memory_bytes {
            tag(MEMORY_TAG, bytes.to_string());
        }
        if let Some(origin) = self.origin {
            tag(ORIGIN_TAG, origin.tag());
        }
        tags.extend(self.judged.iter().flat_map(Judgement::tags));
        tags
    }

    fn from_tags(tags: &HashMap<String, Option<String>>) -> Option<Self> {
        let tag = |name: &str| tags.get(name)?.as_deref();
        Some(Self {
            class: tag(CLASS_TAG).map(str::parse).transpose().ok()?,
            ranges: parse_ranges(tag(RANGE_TAG)?)?,
            sha256: tag(SHA256_TAG)?.to_owned(),
            sampled: tag(SAMPLED_TAG)
                .filter(|sampled| *sampled != NOT_SAMPLED)
                .map(str::to_owned),
            received_max: tag(RECEIVED_MAX_TAG)?.parse().ok()?,
            memory_bytes: tag(MEMORY_TAG).and_then(|bytes| bytes.parse().ok()),
            origin: tag(ORIGIN_TAG).and_then(Origin::from_tag),
            judged: Judgement::from_tags(tags),
        })
    }
}

/// Formats ranges for a tag: `g1p07e1:1-9,12-20;g1p08e1:1-5`.
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

/// Parses the name of a partition, for example `g1p07e1`; `None` when it is not one.
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

/// The statistics of an `add` action, which are JSON in a string.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AddStats {
    num_records: u64,
    min_values: StatsBounds,
    max_values: StatsBounds,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatsBounds {
    conversation_id: Option<String>,
    timestamp: Option<String>,
    received_at: Option<String>,
    seq: Option<Seq>,
    partition: Option<i64>,
}

/// Other engines truncate times to milliseconds, so the true maximum may be up to 1 ms later.
const TRUNCATED_TIME_ERROR: std::time::Duration = std::time::Duration::from_millis(1);

impl AddStats {
    fn extent(self) -> Extent {
        let (min, max) = (self.min_values, self.max_values);
        let time = |text: Option<String>| text.and_then(|text| text.parse::<Timestamp>().ok());
        let latest = |text| time(text).map(|time| time.plus(TRUNCATED_TIME_ERROR));
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
    fn ranges_survive_formatting_and_parsing() {
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
