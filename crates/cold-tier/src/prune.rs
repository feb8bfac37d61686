//! Which files a scan must read. Pure.

use std::collections::HashMap;

use arrow::datatypes::{Schema, SchemaRef};
use event::{ConversationId, PartitionId, RangeSet, Seq, TenantId, Timestamp};
use retention::Class;
use std::sync::Arc;

use crate::{file::ColdFile, table::Table};

/// By position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Asc,
    Desc,
}

/// Which rows are wanted; all that are set must hold.
#[derive(Clone, Debug, Default)]
pub struct ColdScan {
    pub partition: Option<PartitionId>,
    /// Only sequences inside; of rollups, those whose last sequence is inside.
    pub ranges: Option<RangeSet>,
    /// What another tier answers for: rows of this partition and class are not wanted there.
    pub except: HashMap<(PartitionId, Class), RangeSet>,
    pub tenant: Option<TenantId>,
    pub conversation: Option<ConversationId>,
    /// Empty is every type.
    pub types: Vec<String>,
    /// Inclusive.
    pub timestamp_from: Option<Timestamp>,
    /// Exclusive.
    pub timestamp_to: Option<Timestamp>,
    /// Exclusive.
    pub received_after: Option<Timestamp>,
    /// Only positions behind.
    pub after: Option<(Seq, u16)>,
    /// Only positions before.
    pub before: Option<(Seq, u16)>,
    /// Names of the schema's columns; `None` is all.
    pub columns: Option<Vec<String>>,
    /// Of events; without it the rows come file by file.
    pub order: Option<Order>,
    pub limit: Option<usize>,
}

/// Columns that a scan may filter or order by.
const LOOKED_AT: [&str; 13] = [
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
    /// Whether `file` may hold rows that are wanted.
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
            && self.places_match(file)
    }

    fn places_match(&self, file: &ColdFile) -> bool {
        let Some(provenance) = &file.provenance else {
            return true;
        };
        provenance.ranges.iter().any(|(partition, range)| {
            let mut left = RangeSet::from(*range);
            if let Some(ranges) = &self.ranges {
                left = ranges.intersect(*range);
            }
            if let Some(except) = self.except_of(*partition, provenance.class) {
                left = left.subtract(except);
            }
            self.partition.is_none_or(|wanted| wanted == *partition) && !left.is_empty()
        })
    }

    fn except_of(&self, partition: PartitionId, class: Option<Class>) -> Option<&RangeSet> {
        self.except.get(&(partition, class?))
    }

    /// What another tier answers for in the rows of `file`, which are of one partition.
    pub(crate) fn except_in(&self, file: &ColdFile) -> Option<&RangeSet> {
        let provenance = file.provenance.as_ref()?;
        let (partition, _) = provenance.ranges.first()?;
        self.except_of(*partition, provenance.class)
    }

    /// The columns that must be read to find the wanted rows and to answer.
    pub(crate) fn needed(&self, table: Table) -> SchemaRef {
        let schema = table.schema();
        let Some(columns) = &self.columns else {
            return schema;
        };
        let needed =
            |name: &str| LOOKED_AT.contains(&name) || columns.iter().any(|column| column == name);
        let fields = schema.fields().iter().filter(|f| needed(f.name())).cloned();
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests;
