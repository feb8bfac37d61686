//! The ids of messages: the log drops a message whose id it has, so an acknowledgement is worth something only when
//! the message that has the id is the same.

use bytes::Bytes;
use event::{PartitionId, Seq};
use event_log::{AppendOutcome, Appended, Error, EventLog};
use event_proto::have_same_events;
use uuid::Uuid;

/// Between the id of a message whose id another one had taken, and what makes it new.
const RENEWED_ID_SEPARATOR: char = '/';

/// The id that a frame of the same events has, also when its message had to be appended under a new one.
pub(crate) fn original_id(message_id: &str) -> &str {
    let original = message_id.split_once(RENEWED_ID_SEPARATOR);
    original.map_or(message_id, |(original, _)| original)
}

/// A message that is to be appended.
pub(crate) struct NewMessage {
    pub(crate) partition: PartitionId,
    /// That of a frame with its events.
    pub(crate) id: String,
    pub(crate) payload: Bytes,
    pub(crate) headers: Vec<(String, String)>,
}

impl NewMessage {
    /// Appends it, and with `behind` only if the log ends there. Whoever can publish may have taken its id: then
    /// it is appended under a new one.
    ///
    /// # Errors
    /// Those of [`EventLog::append`], and [`Error::Unavailable`] when the message that has the id cannot be read:
    /// retry.
    pub(crate) async fn append(
        &self,
        log: &EventLog,
        behind: Option<Seq>,
    ) -> Result<AppendOutcome, Error> {
        let outcome = self.append_under(&self.id, log, behind).await?;
        let AppendOutcome::Appended(Appended {
            seq,
            id_known: true,
            ..
        }) = outcome
        else {
            return Ok(outcome);
        };
        let stored = log.read_alone(self.partition, seq).await?;
        if stored.is_some_and(|stored| have_same_events(stored.payload, self.payload.clone())) {
            return Ok(outcome);
        }
        let partition = self.partition;
        tracing::warn!(%partition, seq, "message appended under a new id: another one has its id");
        let id = format!("{}{RENEWED_ID_SEPARATOR}{}", self.id, Uuid::now_v7());
        self.append_under(&id, log, behind).await
    }

    async fn append_under(
        &self,
        id: &str,
        log: &EventLog,
        behind: Option<Seq>,
    ) -> Result<AppendOutcome, Error> {
        let (payload, headers) = (self.payload.clone(), self.headers.clone());
        match behind {
            Some(last) => {
                log.append_behind(self.partition, last, id, payload, headers)
                    .await
            }
            None => {
                let appended = log.append(self.partition, id, payload, headers).await;
                appended.map(AppendOutcome::Appended)
            }
        }
    }
}
