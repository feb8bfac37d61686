//! The compactor's own look at the cold tier: nothing goes from here that is not there.

use cold_tier::{ColdOptions, ColdTier, Table, TableSnapshot};

/// The cold tier, opened when it is first needed: the archiver may make it later.
pub(crate) struct Cold {
    url: String,
    options: ColdOptions,
    tier: Option<ColdTier>,
}

impl Cold {
    pub(crate) fn new(url: String, options: ColdOptions) -> Self {
        Self {
            url,
            options,
            tier: None,
        }
    }

    pub(crate) fn tier(&mut self) -> cold_tier::Result<&ColdTier> {
        match &mut self.tier {
            Some(tier) => Ok(tier),
            none => Ok(none.insert(ColdTier::open(&self.url, &self.options)?)),
        }
    }

    /// What is committed; ask it partition by partition.
    pub(crate) async fn events(&mut self) -> cold_tier::Result<TableSnapshot> {
        self.tier()?.table_snapshot(Table::Events).await
    }
}
