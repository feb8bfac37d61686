//! The id of the store: created once, with the log, and kept as long as the log exists.

use uuid::Uuid;

use crate::{
    bucket::META_BUCKET,
    error::{Error, Result},
    log::EventLog,
};

const STORE_ID_KEY: &str = "store";

impl EventLog {
    /// Reads the id of the store; `None` before ingest has created it. Two stores never have the same
    /// id, so that state kept elsewhere about a store can be checked to belong to it.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry. [`Error::Damaged`] if the id is not a UUID: permanent.
    pub async fn store_id(&self) -> Result<Option<Uuid>> {
        let Some(text) = self.meta().get(STORE_ID_KEY).await? else {
            return Ok(None);
        };
        match Uuid::try_parse_ascii(&text) {
            Ok(id) => Ok(Some(id)),
            Err(error) => Err(Error::Damaged {
                what: STORE_ID_KEY.to_owned(),
                source: error.into(),
            }),
        }
    }

    /// Creates the id of the store if it has none and is new.
    ///
    /// # Errors
    /// [`Error::Setup`] if it is not new: its warm volumes and its cold tier have the id that was lost.
    pub(crate) async fn ensure_store_id(&self, is_new: bool) -> Result<()> {
        if is_new {
            let id = Uuid::now_v7().to_string();
            return self.meta().create(STORE_ID_KEY, id).await.map(drop);
        }
        match self.store_id().await? {
            Some(_) => Ok(()),
            None => Err(Error::Setup(format!(
                "the id of the store was deleted from the log's shared state, and the log has partitions; write it again as \
                 the file STORE of a warm volume has it: nats kv put {META_BUCKET} {STORE_ID_KEY} ID"
            ))),
        }
    }
}
