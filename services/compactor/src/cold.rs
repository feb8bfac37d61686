//! The compactor's own view of the cold tier: nothing is dropped from warm or purged from the log
//! that it has not seen committed there.

use std::time::Duration;

use cold_tier::{ColdOptions, ColdTier, Table, TableSnapshot};
use event_log::EventLog;

use crate::proof::ColdView;

/// For the check at the start, which a cold tier that is down must not delay for long.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// The cold tier, opened at its first use: the archiver may create it later than this process starts.
pub(crate) struct LazyColdTier {
    url: String,
    options: ColdOptions,
    tier: Option<ColdTier>,
}

impl LazyColdTier {
    pub(crate) fn new(url: String, options: ColdOptions) -> Self {
        Self {
            url,
            options,
            tier: None,
        }
    }

    /// The opened cold tier.
    pub(crate) fn tier(&mut self) -> cold_tier::Result<&ColdTier> {
        match &mut self.tier {
            Some(tier) => Ok(tier),
            none => Ok(none.insert(ColdTier::open(&self.url, &self.options)?)),
        }
    }

    /// Checks that the cold tier is not another store's. One that does not answer in time is checked
    /// when it is used.
    pub(crate) async fn check_store(&mut self) -> cold_tier::Result<()> {
        match tokio::time::timeout(CHECK_TIMEOUT, self.events()).await {
            Ok(Err(error @ cold_tier::Error::OtherStore { .. })) => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads what the events table has now.
    pub(crate) async fn events(&mut self) -> cold_tier::Result<TableSnapshot> {
        self.tier()?.table_snapshot(Table::Events).await
    }

    /// Reads what the events table has, and the time by which ages are counted.
    pub(crate) async fn view(&mut self, log: &EventLog) -> anyhow::Result<ColdView> {
        Ok(ColdView {
            events: self.events().await?,
            tier: self.tier()?.clone(),
            now: log.now().await?,
        })
    }
}
