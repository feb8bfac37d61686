//! Snapshots of the tables: one version of each, for consistent reads.

use std::{collections::BTreeMap, sync::Arc};

use deltalake_core::kernel::Version;
use event::{PartitionId, RangeSet, Seq};

use crate::{
    commit::{committed_seq, lost_ranges},
    file::{ColdFile, parse_partition},
    replay::TableState,
    table::Table,
};

/// One version of one table. Cheap to clone; its objects exist until they are vacuumed.
#[derive(Clone, Debug)]
pub struct TableSnapshot {
    pub(crate) table: Table,
    pub(crate) state: Option<Arc<TableState>>,
}

/// One version of each table. Rollups are committed before events and their snapshot is taken after
/// that of `events`, so they have every range that `events` has.
#[derive(Clone, Debug)]
pub struct ColdSnapshot {
    /// The events.
    pub events: TableSnapshot,
    /// The rollup per tenant, hour and event type; never older than `events`.
    pub hourly_stats: TableSnapshot,
    /// The rollup per conversation; never older than `events`.
    pub conversation_summary: TableSnapshot,
}

impl ColdSnapshot {
    /// Returns the snapshot of one table.
    #[must_use]
    pub fn table(&self, table: Table) -> &TableSnapshot {
        match table {
            Table::Events => &self.events,
            Table::HourlyStats => &self.hourly_stats,
            Table::ConversationSummary => &self.conversation_summary,
        }
    }

    /// Returns the greatest committed sequence of each partition of `events`.
    #[must_use]
    pub fn committed(&self) -> BTreeMap<PartitionId, Seq> {
        self.events.all_committed()
    }
}

impl TableSnapshot {
    /// Returns the version of the Delta table; `None` while the table does not exist.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.state.as_ref().map(|state| state.version)
    }

    /// Returns the greatest committed sequence of `partition`; 0 when none.
    #[must_use]
    pub fn committed(&self, partition: PartitionId) -> Seq {
        self.state
            .as_ref()
            .map_or(0, |state| committed_seq(state, partition))
    }

    /// Returns the committed ranges of `partition` whose rows no tier had when they were committed: an
    /// answer over them is incomplete for ever.
    #[must_use]
    pub fn lost(&self, partition: PartitionId) -> RangeSet {
        let state = self.state.as_ref();
        state
            .map(|state| lost_ranges(state, partition))
            .unwrap_or_default()
    }

    fn all_committed(&self) -> BTreeMap<PartitionId, Seq> {
        let transactions = self.state.iter().flat_map(|state| &state.transactions);
        transactions
            .filter_map(|(app, version)| {
                Some((parse_partition(app)?, u64::try_from(*version).ok()?))
            })
            .collect()
    }

    /// Iterates over the live files, ordered by path.
    pub fn files(&self) -> impl Iterator<Item = &ColdFile> {
        self.state.iter().flat_map(|state| state.files.values())
    }

    /// Returns whether `file`, of this or another version, is live in this one.
    #[must_use]
    pub fn is_live(&self, file: &ColdFile) -> bool {
        let state = self.state.iter();
        state.flat_map(|state| state.files.get(&file.path)).count() > 0
    }

    /// Returns the number of rows of all live files.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.files().map(|file| file.rows).sum()
    }

    /// Returns the size of all live files in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files().map(|file| file.bytes).sum()
    }
}
