//! The entry point of the crate: the store and the Delta logs of the tables.

use std::sync::Arc;

use event::Timestamp;
use object_store::ObjectStore;

use crate::{
    cache::ObjectCache,
    commit::{self, Change, CommitOutcome},
    error::Result,
    location::{ColdOptions, Location},
    log::DeltaLog,
    object_memory::ObjectMemory,
    snapshot::{ColdSnapshot, TableSnapshot},
    stage::{self, PendingFile, StagedFile},
    stall::StallGuard,
    store_id,
    table::Table,
};

/// A client of the cold tier at one address. Cheap to clone; all clones share the known states.
#[derive(Clone, Debug)]
pub struct ColdTier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    location: Location,
    cache: Option<Arc<ObjectCache>>,
    stall: Arc<StallGuard>,
    object_memory: ObjectMemory,
    events: DeltaLog,
    hourly_stats: DeltaLog,
    conversation_summary: DeltaLog,
}

impl ColdTier {
    /// Opens the cold tier for reading. Sends no request to the store yet.
    ///
    /// # Errors
    /// `Error::Config` or `Error::Refused` when the address or an option is wrong; not transient.
    pub fn open(address: &str, options: &ColdOptions) -> Result<Self> {
        let location = Location::parse(address, &options.s3)?;
        let stall = Arc::new(StallGuard::new(options.stall_timeout));
        let log = |table| {
            let store = options.store.clone();
            DeltaLog::new(&location, table, store, Arc::clone(&stall))
        };
        Ok(Self(Arc::new(Inner {
            events: log(Table::Events)?,
            hourly_stats: log(Table::HourlyStats)?,
            conversation_summary: log(Table::ConversationSummary)?,
            stall: Arc::clone(&stall),
            object_memory: ObjectMemory::new(options.object_memory),
            cache: options.cache.clone(),
            location,
        })))
    }

    /// Opens the cold tier for writing: tests the store, creates missing tables, and puts the id of the
    /// store into tables that have none.
    ///
    /// # Errors
    /// `Error::Unfit` when commits would not be safe on the store; `Error::OtherStore` when it is
    /// another one's; `Error::Config` and
    /// `Error::Refused` for a wrong address or option. Retry when `Error::is_transient`.
    pub async fn open_for_writing(address: &str, options: &ColdOptions) -> Result<Self> {
        let tier = Self::open(address, options)?;
        tier.0.location.self_test().await?;
        for table in Table::ALL {
            tier.log(table).create().await?;
            store_id::claim(tier.log(table)).await?;
        }
        Ok(tier)
    }

    /// Returns the latest version of each table.
    ///
    /// # Errors
    /// Retry when `Error::is_transient`; `Error::Log` when a log is damaged or too new.
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

    /// Returns the latest version of one table.
    ///
    /// # Errors
    /// As [`ColdTier::snapshot`].
    pub async fn table_snapshot(&self, table: Table) -> Result<TableSnapshot> {
        let state = self.log(table).refresh().await?;
        Ok(TableSnapshot { table, state })
    }

    /// Puts the object of `pending`, reads it back and verifies it. It stays invisible until it is
    /// committed.
    ///
    /// # Errors
    /// `Error::Rows` when the rows do not have the table's schema; `Error::Damaged` when the store
    /// returns other bytes than were put. Retry when `Error::is_transient`.
    pub async fn stage(&self, pending: PendingFile) -> Result<StagedFile> {
        stage::stage(self.log(pending.table), self.store(), pending).await
    }

    /// Commits one atomic change of one table. `now` is only written into the log entry.
    ///
    /// # Errors
    /// After an error the change may be committed: retry with the same change, a range is committed
    /// once. `Error::Log` when the table does not exist or its log is damaged.
    pub async fn commit(
        &self,
        table: Table,
        change: &Change,
        now: Timestamp,
    ) -> Result<CommitOutcome> {
        commit::commit(self.log(table), change, now).await
    }

    pub(crate) fn log(&self, table: Table) -> &DeltaLog {
        match table {
            Table::Events => &self.0.events,
            Table::HourlyStats => &self.0.hourly_stats,
            Table::ConversationSummary => &self.0.conversation_summary,
        }
    }

    pub(crate) fn store(&self) -> &dyn ObjectStore {
        self.0.location.store.as_ref()
    }

    pub(crate) fn stall(&self) -> &StallGuard {
        &self.0.stall
    }

    pub(crate) fn object_memory(&self) -> &ObjectMemory {
        &self.0.object_memory
    }

    pub(crate) fn cache(&self) -> Option<&Arc<ObjectCache>> {
        self.0.cache.as_ref()
    }
}
