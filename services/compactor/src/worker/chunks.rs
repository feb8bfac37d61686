//! The messages of the log in chunks, bounded in number and in bytes.

use event_log::{LogMessage, Result};
use futures::{FutureExt as _, StreamExt as _, stream::BoxStream};

/// Most messages of one chunk.
pub(super) const MAX_CHUNK_MESSAGES: usize = 256;
/// Bytes after which a chunk ends: every partition has one, and one that lags has full ones.
const MAX_CHUNK_BYTES: usize = 8 * 1024 * 1024;

/// The messages of one partition as they become available.
pub(super) struct Chunks(BoxStream<'static, Result<LogMessage>>);

impl Chunks {
    pub(super) fn new(messages: BoxStream<'static, Result<LogMessage>>) -> Self {
        Self(messages)
    }

    /// Waits for a message and takes what is there with it; `None` when the log has ended. It waits before
    /// the first one only, so that nothing is lost when it is cancelled.
    pub(super) async fn next(&mut self) -> Option<Vec<Result<LogMessage>>> {
        let first = self.0.next().await?;
        let mut bytes = size(&first);
        let mut chunk = vec![first];
        while chunk.len() < MAX_CHUNK_MESSAGES && bytes < MAX_CHUNK_BYTES {
            let Some(Some(message)) = self.0.next().now_or_never() else {
                break;
            };
            bytes += size(&message);
            chunk.push(message);
        }
        Some(chunk)
    }
}

fn size(message: &Result<LogMessage>) -> usize {
    message.as_ref().map_or(0, |message| message.payload.len())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use event::{PartitionId, Timestamp};
    use futures::stream;

    use super::*;

    fn chunks(count: u64, bytes: usize) -> Chunks {
        let message = move |seq| {
            Ok(LogMessage {
                message_id: String::new(),
                partition: PartitionId::first(0),
                seq,
                received_at: Timestamp::from_micros(1),
                payload: Bytes::from(vec![0; bytes]),
                headers: Vec::new(),
            })
        };
        Chunks::new(stream::iter((1..=count).map(message)).boxed())
    }

    #[tokio::test]
    async fn a_chunk_ends_by_its_number_or_by_its_bytes() {
        let mut small = chunks(300, 1);
        assert_eq!(small.next().await.unwrap().len(), 256);
        assert_eq!(small.next().await.unwrap().len(), 44);
        assert!(small.next().await.is_none());
        let mut large = chunks(20, 1024 * 1024);
        assert_eq!(large.next().await.unwrap().len(), 8);
    }
}
