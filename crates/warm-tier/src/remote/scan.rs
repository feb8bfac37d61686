//! The ticket: which rows of one partition's sealed slices are wanted.

use event::{PartitionId, Seq, SeqRange, Timestamp};
use retention::Class;
use serde::{Deserialize, Serialize};

use super::serial;

/// Rows of one partition. The answer has the columns and types of the `segment` schemas.
///
/// Every part of `ranges` that is sealed is answered from the slices that are here: all that the
/// partition has of a class, or nothing of it when the slice was dropped. A range that is not
/// sealed is an error, never an empty answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    pub table: Table,
    #[serde(with = "serial::partition")]
    pub partition: PartitionId,
    /// Only rows inside. A rollup of a slice that is partly outside is computed from its rows.
    #[serde(with = "serial::ranges")]
    pub ranges: Vec<SeqRange>,
    /// Only slices of this class.
    #[serde(
        default,
        with = "serial::text_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub class: Option<Class>,
    /// Names of the schema's columns, answered in this order; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// [`super::PartitionCoverage::removals`] as the reader planned with it: when slices were
    /// removed since, the scan is refused, never silently short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removals: Option<u64>,
    #[serde(default)]
    pub filter: Filter,
    #[serde(default)]
    pub order: Order,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    Events,
    HourlyStats,
    ConversationSummary,
}

/// By position. `None`: slice after slice by `lo`, each sorted by (tenant, conversation, position).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    Asc,
    Desc,
    #[default]
    None,
}

/// All that are set must hold. Rollups are filtered by `tenant`, `conversation_id` (summaries) and
/// `types` (hourly stats) only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// Empty is every type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Inclusive.
    #[serde(with = "serial::time", skip_serializing_if = "Option::is_none")]
    pub timestamp_from: Option<Timestamp>,
    /// Exclusive.
    #[serde(with = "serial::time", skip_serializing_if = "Option::is_none")]
    pub timestamp_to: Option<Timestamp>,
    /// Exclusive.
    #[serde(with = "serial::time", skip_serializing_if = "Option::is_none")]
    pub received_after: Option<Timestamp>,
    /// Only positions behind `(seq, idx)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<(Seq, u16)>,
    /// Only positions before `(seq, idx)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<(Seq, u16)>,
}

impl Scan {
    /// Every row of `ranges`, slice by slice.
    #[must_use]
    pub fn new(table: Table, partition: PartitionId, ranges: Vec<SeqRange>) -> Self {
        Self {
            table,
            partition,
            ranges,
            class: None,
            columns: None,
            removals: None,
            filter: Filter::default(),
            order: Order::None,
            limit: None,
        }
    }
}
