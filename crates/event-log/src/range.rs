//! Reads of a known range of one partition, without a consumer.

use async_nats::jetstream::{
    message::StreamMessage,
    stream::{DirectGetErrorKind, RawMessageErrorKind, Stream as NatsStream},
};
use event::{PartitionId, Seq, SeqRange};
use futures::{Stream, StreamExt as _, TryStreamExt as _, future, stream};

use crate::{
    error::{Error, Result},
    log::EventLog,
    reader::{LogMessage, headers, message_id, timestamp},
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
    match stream.direct_get(seq).await {
        Ok(message) => return Ok(Some(to_message(partition, message))),
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => {}
        Err(error) => return Err(Error::unavailable("read a message", error)),
    }
    // A direct get may be answered by a replica that is behind: ask the leader.
    match stream.get_raw_message(seq).await {
        Ok(message) => return Ok(Some(to_message(partition, message))),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {}
        Err(error) => return Err(Error::unavailable("read a message", error)),
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

fn to_message(partition: PartitionId, message: StreamMessage) -> LogMessage {
    LogMessage {
        partition,
        seq: message.sequence,
        received_at: timestamp(message.time),
        message_id: message_id(&message.headers),
        headers: headers(&message.headers),
        payload: message.payload,
    }
}
