//! The request of a scan: the rows of one partition's sealed slices to return.

use arrow::datatypes::SchemaRef;
use event::{PartitionId, Seq, SeqRange, Timestamp};
use retention::Class;
use serde::{Deserialize, Serialize};

use crate::serial;

/// A request for rows of one partition. The result has the columns and types of the `segment`
/// schemas.
///
/// A sealed range is answered from the slices that are here: with all rows of a class, or with none
/// when the slice was dropped. A range that is not sealed is an error, never an empty result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    pub table: Table,
    #[serde(with = "serial::partition")]
    pub partition: PartitionId,
    /// Only rows with a sequence in these ranges. The rollup of a slice that is partly outside is
    /// computed from its rows.
    #[serde(with = "serial::ranges")]
    pub ranges: Vec<SeqRange>,
    /// Only slices of this class.
    #[serde(
        default,
        with = "serial::text_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub class: Option<Class>,
    /// Columns of the result, in this order; `None` is all columns of the schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// The [`removals`](crate::coverage::PartitionCoverage::removals) that the reader planned with:
    /// when slices were removed since, the scan is refused, so that it never lacks rows silently.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removals: Option<u64>,
    #[serde(default)]
    pub filter: Filter,
    #[serde(default)]
    pub order: Order,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// With an order: end with the row by which content and metadata have so many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// The reader lies beside the files: it may get columns of what is not sealed as files, with the rows of every
    /// tenant, and those that no condition but `ranges` was applied to.
    #[serde(default)]
    pub beside_files: bool,
}

/// A table of a slice file, which a statement can read too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    Events,
    HourlyStats,
    ConversationSummary,
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 3] = [Self::Events, Self::HourlyStats, Self::ConversationSummary];

    /// The columns of the table.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        match self {
            Self::Events => segment::events_schema(),
            Self::HourlyStats => segment::hourly_stats_schema(),
            Self::ConversationSummary => segment::conversation_summary_schema(),
        }
    }

    /// The name of the table, in SQL too.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::HourlyStats => "hourly_stats",
            Self::ConversationSummary => "conversation_summary",
        }
    }
}

/// A request to check the slices of `partition` that overlap `range`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct CheckRequest {
    #[serde(with = "serial::partition")]
    pub(crate) partition: PartitionId,
    pub(crate) lo: Seq,
    pub(crate) hi: Seq,
}

/// The order of the rows: by position, or with `None` slice after slice by `lo`, each sorted by
/// (tenant, conversation, position).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    Asc,
    Desc,
    #[default]
    None,
}

/// Conditions on the rows; all that are set must hold. Rollups are filtered by `tenant`,
/// `conversation_id` (summaries) and `types` (hourly stats) only.
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
    /// Only positions after `(seq, idx)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<(Seq, u16)>,
    /// Only positions before `(seq, idx)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<(Seq, u16)>,
}

impl Filter {
    /// The filter without types that no event can have; `None` when no event can match it. SQL cannot
    /// express a NUL, and ingest takes no name with one.
    pub(crate) fn possible(&self) -> Option<Self> {
        let is_possible = |text: &String| !text.contains('\0');
        let types = self.types.iter().filter(|text| is_possible(text));
        let types: Vec<String> = types.cloned().collect();
        let mut names = self.tenant.iter().chain(&self.conversation_id);
        if !names.all(is_possible) || (types.is_empty() && !self.types.is_empty()) {
            return None;
        }
        Some(Self {
            types,
            ..self.clone()
        })
    }
}

impl Scan {
    /// Whether the reader may get files: it lies beside them, and needs so many of the rows that it is worth it.
    pub(crate) fn takes_files(&self) -> bool {
        let is_plain = self.order == Order::None && self.limit.is_none() && self.class.is_none();
        let few = self.filter.conversation_id.is_some() || self.filter.after.is_some();
        self.beside_files && self.table == Table::Events && is_plain && !few
    }

    /// Requests every row of `ranges`, in the order of the slices.
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
            max_bytes: None,
            beside_files: false,
        }
    }
}
