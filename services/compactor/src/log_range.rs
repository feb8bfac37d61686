//! Reads a known range of the log again, a few messages at a time.

use event::{PartitionId, SeqRange, StoredEvent};
use event_log::{EventLog, FloodGuard, LogMessage};
use futures::{StreamExt as _, stream::BoxStream};
use tokio::task;

use crate::decode;

/// Most messages that are decoded at once. Bounds memory: the events of one have 256 KiB at most.
const MAX_MESSAGES: usize = 32;

/// Reads the events of `range` that the log still has, and gives them to `add` in parts, in order, on a
/// blocking thread. Returns `into`, to which they were added.
pub(crate) async fn read_events<T: Send + 'static>(
    log: &EventLog,
    partition: PartitionId,
    range: SeqRange,
    into: T,
    add: fn(&T, &[StoredEvent]) -> warm_tier::Result<()>,
) -> anyhow::Result<T> {
    let messages = log.read_range(partition, range).await?;
    read_parts(messages.boxed(), into, add).await
}

async fn read_parts<T: Send + 'static>(
    messages: BoxStream<'static, event_log::Result<LogMessage>>,
    mut into: T,
    add: fn(&T, &[StoredEvent]) -> warm_tier::Result<()>,
) -> anyhow::Result<T> {
    let mut parts = messages.chunks(MAX_MESSAGES);
    while let Some(part) = parts.next().await {
        let part: Vec<_> = part.into_iter().collect::<Result<_, _>>()?;
        into = task::spawn_blocking(move || {
            // The range was taken before: its dead letters were counted and stored then.
            let decoded = decode::batches(part, &mut FloodGuard::new(true));
            for batch in decoded.batches {
                add(&into, &batch.frames.events)?;
            }
            match decoded.halt {
                Some(halt) => Err(anyhow::Error::from(halt)),
                None => Ok(into),
            }
        })
        .await??;
    }
    Ok(into)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use event::Event;
    use futures::stream;

    use super::*;
    use crate::decode::tests::{event, frame_of, message};

    /// A message with an event of 200 KB.
    fn large(seq: u64) -> LogMessage {
        let large = Event {
            content: "x".repeat(200_000),
            ..event(seq.into())
        };
        message(seq, frame_of(&[large], None))
    }

    /// The number of events and the bytes of content of each part.
    type Parts = Mutex<Vec<(usize, usize)>>;

    fn add(parts: &Parts, events: &[StoredEvent]) -> warm_tier::Result<()> {
        let bytes = events.iter().map(|own| own.event.content.len()).sum();
        parts.lock().unwrap().push((events.len(), bytes));
        Ok(())
    }

    #[tokio::test]
    async fn a_range_of_any_length_is_read_in_parts_of_a_few_mib() {
        let messages = stream::iter((1..=150).map(|seq| Ok(large(seq))));
        let parts = read_parts(messages.boxed(), Parts::default(), add).await;
        let parts = parts.unwrap().into_inner().unwrap();
        let events: usize = parts.iter().map(|(events, _)| events).sum();
        let largest = parts.iter().map(|(_, bytes)| *bytes).max().unwrap();
        assert_eq!(events, 150);
        assert!(largest <= 8 << 20, "{largest} bytes at once");
    }

    #[tokio::test]
    async fn a_message_of_a_later_version_ends_the_reading_with_an_error() {
        // A frame of version 2: field 1, a number.
        let later = message(2, Bytes::from_static(&[8, 2]));
        let messages = stream::iter([Ok(large(1)), Ok(later)]);
        let read = read_parts(messages.boxed(), Parts::default(), add).await;
        assert!(read.is_err());
    }
}
