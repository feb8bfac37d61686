//! Selects the files that a scan must read, by what their log entries say. Pure.

use std::collections::HashMap;

use arrow::datatypes::{Schema, SchemaRef};
use event::{ConversationId, PartitionId, RangeSet, Seq, TenantId, Timestamp};
use retention::Class;
use std::sync::Arc;

use crate::{file::ColdFile, table::Table};

/// The order of rows by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ascending.
    Asc,
    /// Descending.
    Desc,
}

/// A selection of rows and columns of one table. A row must satisfy every filter that is set.
#[derive(Clone, Debug, Default)]
pub struct ColdScan {
    /// Only rows of this partition.
    pub partition: Option<PartitionId>,
    /// Only rows with a sequence in these ranges; of rollups, those whose last sequence is.
    pub ranges: Option<RangeSet>,
    /// Ranges that another tier answers for: rows of that partition and class are left out there.
    pub except: HashMap<(PartitionId, Class), RangeSet>,
    /// Only rows of this tenant.
    pub tenant: Option<TenantId>,
    /// Only rows of this conversation.
    pub conversation: Option<ConversationId>,
    /// Only rows of these event types; empty means every type.
    pub types: Vec<String>,
    /// Lower bound of the event time, inclusive.
    pub timestamp_from: Option<Timestamp>,
    /// Upper bound of the event time, exclusive.
    pub timestamp_to: Option<Timestamp>,
    /// Only rows that the log took after this time, exclusive.
    pub received_after: Option<Timestamp>,
    /// Only rows after this `(seq, idx)`, exclusive.
    pub after: Option<(Seq, u16)>,
    /// Only rows before this `(seq, idx)`, exclusive.
    pub before: Option<(Seq, u16)>,
    /// Names of the columns to return; `None` means all.
    pub columns: Option<Vec<String>>,
    /// The order of the rows, `events` only; `None` means file by file.
    pub order: Option<Order>,
    /// At most this many rows; applies only together with `order`.
    pub limit: Option<usize>,
    /// End with the row by which content and metadata have so many bytes; applies only together with
    /// `order`.
    pub max_bytes: Option<usize>,
}

/// Columns that a scan may filter or order by, in any of the tables.
const FILTER_COLUMNS: [&str; 13] = [
    "tenant",
    "conversation_id",
    "type",
    "timestamp",
    "received_at",
    "generation",
    "partition",
    "epoch",
    "seq",
    "idx",
    "seq_hi",
    "seq_lo",
    "hour",
];

impl ColdScan {
    /// Returns whether `file` may have rows that satisfy the filters.
    #[must_use]
    pub(crate) fn may_match(&self, file: &ColdFile) -> bool {
        let extent = &file.extent;
        let tenant = file.tenant.as_deref().zip(self.tenant.as_ref());
        let conversation = extent.conversation.as_ref().zip(self.conversation.as_ref());
        tenant.is_none_or(|(own, wanted)| own == wanted.as_str())
            && conversation.is_none_or(|((min, max), wanted)| {
                (min.as_str()..=max.as_str()).contains(&wanted.as_str())
            })
            && extent.timestamp.is_none_or(|(min, max)| {
                self.timestamp_from.is_none_or(|from| max >= from)
                    && self.timestamp_to.is_none_or(|to| min < to)
            })
            && extent.seq.is_none_or(|(min, max)| {
                self.after.is_none_or(|(seq, _)| max >= seq)
                    && self.before.is_none_or(|(seq, _)| min <= seq)
            })
            && file.provenance.as_ref().is_none_or(|provenance| {
                self.received_after
                    .is_none_or(|after| provenance.received_max > after)
            })
            && self.ranges_may_match(file)
    }

    fn ranges_may_match(&self, file: &ColdFile) -> bool {
        // Other engines need not say how many rows a file has.
        file.provenance.is_none() || (file.rows > 0 && !self.wanted_ranges(file).is_empty())
    }

    /// Returns the ranges of which `file` may have rows of the scan; of a file of another engine, whose
    /// ranges are not known, all that the scan is about.
    pub(crate) fn wanted_ranges(&self, file: &ColdFile) -> RangeSet {
        let Some(provenance) = &file.provenance else {
            return self.ranges.clone().unwrap_or_default();
        };
        let mut wanted = RangeSet::new();
        for (partition, range) in &provenance.ranges {
            if self.partition.is_some_and(|wanted| wanted != *partition) {
                continue;
            }
            let mut seqs = RangeSet::from(*range);
            if let Some(ranges) = &self.ranges {
                seqs = ranges.intersect(*range);
            }
            if let Some(except) = self.except_of(*partition, provenance.class) {
                seqs = seqs.subtract(except);
            }
            wanted.extend(seqs);
        }
        wanted
    }

    fn except_of(&self, partition: PartitionId, class: Option<Class>) -> Option<&RangeSet> {
        self.except.get(&(partition, class?))
    }

    /// Returns the ranges of `file` that another tier answers for. A file has rows of one
    /// partition.
    pub(crate) fn except_in(&self, file: &ColdFile) -> Option<&RangeSet> {
        let provenance = file.provenance.as_ref()?;
        let (partition, _) = provenance.ranges.first()?;
        self.except_of(*partition, provenance.class)
    }

    /// Returns the columns that must be read: those to return and those to filter and order by.
    pub(crate) fn read_schema(&self, table: Table) -> SchemaRef {
        let schema = table.schema();
        let Some(columns) = &self.columns else {
            return schema;
        };
        let needed = |name: &str| {
            FILTER_COLUMNS.contains(&name) || columns.iter().any(|column| column == name)
        };
        let fields = schema.fields().iter().filter(|f| needed(f.name())).cloned();
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests;
