//! Puts the id of the store into a table that an older version made, so that no other store uses it.

use deltalake_core::{
    kernel::{Action, MetadataExt as _, transaction::CommitData},
    protocol::DeltaOperation,
};
use serde_json::json;

use crate::{
    error::{Error, Result},
    hash::sha256,
    log::DeltaLog,
    replay::STORE_KEY,
};

/// Bounds a claim that always loses; every lost attempt means that another commit succeeded.
const MAX_ATTEMPTS: u32 = 100;

/// Commits the id of the store to the metadata of the table of `log`, unless it is there. Of two stores
/// that do so one is first, and the other one is refused.
pub(crate) async fn claim(log: &DeltaLog) -> Result<()> {
    let Some(store) = log.store_id.as_deref() else {
        return Ok(());
    };
    for _ in 0..MAX_ATTEMPTS {
        let state = log.refresh().await?;
        let Some(state) = state.filter(|state| state.store.is_none()) else {
            return Ok(());
        };
        let table = log.delta_table(state.version).await?;
        let metadata = table.snapshot()?.metadata().clone();
        let metadata = metadata
            .add_config_key(STORE_KEY.to_owned(), store.to_owned())
            .map_err(|error| Error::Delta(error.into()))?;
        let previous = log.entry(state.version).await?;
        let info = json!({"store": store, "previous": previous.as_deref().map(sha256)});
        let data = CommitData::new(
            vec![Action::Metadata(metadata)],
            DeltaOperation::SetTableProperties {
                properties: [(STORE_KEY.to_owned(), store.to_owned())].into(),
            },
            [("isotherm".to_owned(), info)].into(),
            Vec::new(),
        );
        let entry = data
            .get_bytes()
            .map_err(|error| Error::Delta(error.into()))?;
        if log.append(state.version + 1, entry).await? {
            return Ok(());
        }
    }
    Err(Error::Log {
        table: log.table().name(),
        reason: "other commits were always first".to_owned(),
    })
}
