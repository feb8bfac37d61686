//! Reads of a known range of one partition, without a consumer.

use async_nats::jetstream::stream::{DirectGetErrorKind, Stream as NatsStream};
use event::{PartitionId, Seq, SeqRange};
use futures::{Stream, StreamExt as _, TryStreamExt as _, future, stream};

use crate::{
    error::{Error, Result},
    log::{EventLog, unless_lost},
    message::LogMessage,
};

/// The number of concurrent requests of one range: no reason but to bound memory.
const MAX_CONCURRENT_READS: usize = 32;

impl EventLog {
    /// Streams the messages of `range`, ascending by seq. A purged head is left out.
    ///
    /// # Errors
    /// [`Error::Regressed`] if the log ends before the range does: permanent. [`Error::Unavailable`]:
    /// retry. The stream also yields [`Error::Gap`] for a sequence that is missing and was not purged:
    /// permanent.
    pub async fn read_range(
        &self,
        partition: PartitionId,
        range: SeqRange,
    ) -> Result<impl Stream<Item = Result<LogMessage>> + Send + Unpin + use<>> {
        let handle = self.stream(partition).await?;
        let state = &handle.cached_info().state;
        if state.last_sequence < range.hi {
            return Err(Error::Regressed {
                partition,
                last: state.last_sequence,
                known: range.hi,
            });
        }
        let from = range.lo.max(state.first_sequence).max(1);
        let log = self.clone();
        let messages = stream::iter(from..=range.hi)
            .map(move |seq| read(log.clone(), handle.clone(), partition, seq))
            .buffered(MAX_CONCURRENT_READS)
            .try_filter_map(future::ok);
        Ok(Box::pin(messages))
    }
}

/// Reads one message; `None` if it has been purged.
async fn read(
    log: EventLog,
    stream: NatsStream,
    partition: PartitionId,
    seq: Seq,
) -> Result<Option<LogMessage>> {
    match unless_lost(&mut log.losses(), stream.direct_get(seq)).await {
        Some(Ok(message)) => return Ok(Some(LogMessage::stored(partition, message))),
        // A replica that is behind has answered, or it is a message that takes the connection down.
        Some(Err(error)) if error.kind() == DirectGetErrorKind::NotFound => {}
        None => {}
        Some(Err(error)) => return Err(Error::unavailable("read a message", error)),
    }
    if let Some(message) = log.read_alone(partition, seq).await? {
        return Ok(Some(message));
    }
    let first = log.first_seq(partition).await?;
    if seq < first {
        return Ok(None);
    }
    Err(Error::Gap {
        partition,
        expected: seq,
        found: first,
    })
}
