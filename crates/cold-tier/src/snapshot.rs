//! What the cold tier holds at one moment.

use std::{collections::BTreeMap, sync::Arc};

use deltalake_core::kernel::Version;
use event::{PartitionId, Seq};

use crate::{
    commit::committed,
    file::{ColdFile, parse_partition},
    replay::State,
    table::Table,
};

/// One version of one table. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TableSnapshot {
    pub(crate) table: Table,
    pub(crate) state: Option<Arc<State>>,
}

/// One version of each table. The rollups are read after the events, and their commits come
/// before the events': what `events` has committed they have too.
#[derive(Clone, Debug)]
pub struct ColdSnapshot {
    pub events: TableSnapshot,
    pub hourly_stats: TableSnapshot,
    pub conversation_summary: TableSnapshot,
}

impl ColdSnapshot {
    #[must_use]
    pub fn table(&self, table: Table) -> &TableSnapshot {
        match table {
            Table::Events => &self.events,
            Table::HourlyStats => &self.hourly_stats,
            Table::ConversationSummary => &self.conversation_summary,
        }
    }

    /// Of `events`: how far every partition is.
    #[must_use]
    pub fn committed(&self) -> BTreeMap<PartitionId, Seq> {
        self.events.all_committed()
    }
}

impl TableSnapshot {
    /// `None` while the table does not exist.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.state.as_ref().map(|state| state.version)
    }

    /// The greatest sequence of `partition` that is in; 0 when none.
    #[must_use]
    pub fn committed(&self, partition: PartitionId) -> Seq {
        self.state
            .as_ref()
            .map_or(0, |state| committed(state, partition))
    }

    fn all_committed(&self) -> BTreeMap<PartitionId, Seq> {
        let transactions = self.state.iter().flat_map(|state| &state.transactions);
        transactions
            .filter_map(|(app, version)| {
                Some((parse_partition(app)?, u64::try_from(*version).ok()?))
            })
            .collect()
    }

    /// Live files, ordered by path.
    pub fn files(&self) -> impl Iterator<Item = &ColdFile> {
        self.state.iter().flat_map(|state| state.files.values())
    }

    #[must_use]
    pub fn rows(&self) -> u64 {
        self.files().map(|file| file.rows).sum()
    }

    /// Of the objects.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files().map(|file| file.bytes).sum()
    }
}
