//! Which store this is: an id that is made once, with the log, and lives as long as it does.

use uuid::Uuid;

use crate::{
    error::{Error, Result},
    log::EventLog,
};

const STORE: &str = "store";

impl EventLog {
    /// The id of the store; `None` before ingest made it. Two stores never share one, so whoever
    /// keeps notes about a store can tell whether it is still the same.
    pub async fn store_id(&self) -> Result<Option<Uuid>> {
        let Some(text) = self.meta().get(STORE).await? else {
            return Ok(None);
        };
        match Uuid::try_parse_ascii(&text) {
            Ok(id) => Ok(Some(id)),
            Err(error) => Err(Error::Damaged {
                what: STORE.to_owned(),
                source: error.into(),
            }),
        }
    }

    /// Whoever comes first names the store; the others find its name.
    pub(crate) async fn name_store(&self) -> Result<()> {
        let id = Uuid::now_v7().to_string();
        self.meta().create(STORE, id).await.map(drop)
    }
}
