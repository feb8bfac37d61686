//! The tier: its store and the logs of its tables.

use std::sync::Arc;

use event::Timestamp;
use object_store::ObjectStore;

use crate::{
    cache::ObjectCache,
    commit::{self, Change, CommitOutcome},
    error::Result,
    log::Log,
    open::{ColdOptions, Location},
    snapshot::{ColdSnapshot, TableSnapshot},
    stage::{self, PendingFile, StagedFile},
    table::Table,
};

/// The cold tier at one address. Cheap to clone; needs no connection of its own.
#[derive(Clone, Debug)]
pub struct ColdTier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    location: Location,
    cache: Option<Arc<ObjectCache>>,
    events: Log,
    hourly_stats: Log,
    conversation_summary: Log,
}

impl ColdTier {
    /// For readers. Nothing is asked of the store yet.
    pub fn open(address: &str, options: &ColdOptions) -> Result<Self> {
        let location = Location::parse(address, &options.s3)?;
        Ok(Self(Arc::new(Inner {
            events: Log::new(&location, Table::Events)?,
            hourly_stats: Log::new(&location, Table::HourlyStats)?,
            conversation_summary: Log::new(&location, Table::ConversationSummary)?,
            cache: options.cache.clone(),
            location,
        })))
    }

    /// For writers: refuses a store on which commits would not be safe, and creates the tables.
    pub async fn open_for_writing(address: &str, options: &ColdOptions) -> Result<Self> {
        let tier = Self::open(address, options)?;
        tier.0.location.self_test().await?;
        for table in Table::ALL {
            tier.log(table).create().await?;
        }
        Ok(tier)
    }

    /// What is there now.
    pub async fn snapshot(&self) -> Result<ColdSnapshot> {
        let events = self.table_snapshot(Table::Events).await?;
        let (hourly_stats, conversation_summary) = tokio::try_join!(
            self.table_snapshot(Table::HourlyStats),
            self.table_snapshot(Table::ConversationSummary)
        )?;
        Ok(ColdSnapshot {
            events,
            hourly_stats,
            conversation_summary,
        })
    }

    /// What is in one table now.
    pub async fn table_snapshot(&self, table: Table) -> Result<TableSnapshot> {
        let state = self.log(table).refresh().await?;
        Ok(TableSnapshot { table, state })
    }

    /// Puts the file of `pending`, reads it back and verifies it. Nobody sees it yet.
    pub async fn stage(&self, pending: PendingFile) -> Result<StagedFile> {
        stage::stage(self.log(pending.table), self.store(), pending).await
    }

    /// Changes one table, all or nothing. `now` is only written down.
    pub async fn commit(
        &self,
        table: Table,
        change: &Change,
        now: Timestamp,
    ) -> Result<CommitOutcome> {
        commit::commit(self.log(table), change, now).await
    }

    pub(crate) fn log(&self, table: Table) -> &Log {
        match table {
            Table::Events => &self.0.events,
            Table::HourlyStats => &self.0.hourly_stats,
            Table::ConversationSummary => &self.0.conversation_summary,
        }
    }

    pub(crate) fn store(&self) -> &dyn ObjectStore {
        self.0.location.store.as_ref()
    }

    pub(crate) fn cache(&self) -> Option<&Arc<ObjectCache>> {
        self.0.cache.as_ref()
    }
}
