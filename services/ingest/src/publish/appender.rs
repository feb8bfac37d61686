//! Appends frames so that small ones share a message: what arrives while a message of its partition is on its
//! way goes together in the next. Nothing waits for a timer, and a frame that fills a message waits for none.

mod queue;

use std::sync::{Arc, Mutex, MutexGuard};

use event::{PartitionCount, PartitionId, Position};
use event_log::{AppendOutcome, Appended, Error, EventLog};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use self::queue::{Message, Queue, Ticket, Waiting};
use super::NewMessage;
use crate::{accept::Frame, metrics::Metrics};

/// Most bytes of events and headers that wait or are on their way, of all partitions: four of the largest
/// requests. What is behind them waits in its request, which has reserved memory.
const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;
/// The bytes of one permit.
const QUEUE_UNIT_BYTES: usize = 1024;

/// The headers of a message of the log, which the frames of a request share.
pub(crate) type Headers = Arc<[(String, String)]>;

/// The bytes of `headers`.
pub(crate) fn header_bytes(headers: &Headers) -> usize {
    let headers = headers.iter();
    headers.map(|(name, value)| name.len() + value.len()).sum()
}

/// The acknowledgement of one frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameAck {
    /// The position of its first event.
    pub(crate) first: Position,
    /// The log had the message already.
    pub(crate) duplicate: bool,
}

impl FrameAck {
    /// The acknowledgement of the frame whose events begin at index `idx` of the message.
    pub(crate) fn new(partition: PartitionId, message: Appended, idx: u16) -> Self {
        Self {
            first: Position::new(partition, message.seq, idx),
            duplicate: message.duplicate,
        }
    }

    /// The position of the event with index `idx` in the frame.
    pub(crate) fn position(&self, idx: u16) -> Position {
        let Position { partition, seq, .. } = self.first;
        Position::new(partition, seq, self.first.idx + idx)
    }
}

/// Appends the frames of all requests.
#[derive(Clone, Debug)]
pub(crate) struct Appender(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    log: EventLog,
    metrics: Metrics,
    room: Arc<Semaphore>,
    /// By partition number.
    queues: Vec<Mutex<Queue<Answer>>>,
}

/// What a waiting frame gets: its acknowledgement, or the error of its message. Its room is free then.
#[derive(Debug)]
struct Answer {
    ack: oneshot::Sender<Result<FrameAck, Arc<Error>>>,
    _room: OwnedSemaphorePermit,
}

impl Appender {
    pub(crate) fn new(log: EventLog, metrics: Metrics, partitions: PartitionCount) -> Self {
        let queues = partitions.all().map(|_| Mutex::default());
        Self(Arc::new(Shared {
            log,
            metrics,
            room: Arc::new(Semaphore::new(MAX_QUEUED_BYTES / QUEUE_UNIT_BYTES)),
            queues: queues.collect(),
        }))
    }

    /// Appends `frame` and waits for its acknowledgement. When nobody waits any more before it is on its way
    /// to the log, it is not appended.
    ///
    /// # Errors
    /// Those of [`EventLog::append`], which all frames of the message get.
    pub(crate) async fn append(
        &self,
        frame: Frame,
        headers: Headers,
    ) -> Result<FrameAck, Arc<Error>> {
        let units = (frame.events.bytes() + header_bytes(&headers)) / QUEUE_UNIT_BYTES + 1;
        let units =
            u32::try_from(units).expect("a frame is at most 256 KiB, its headers are 17 KiB");
        let room = Arc::clone(&self.0.room).acquire_many_owned(units).await;
        let (ack, acked) = oneshot::channel();
        let waiting = Waiting {
            events: frame.events,
            headers,
            answer: Answer {
                ack,
                _room: room.expect("the semaphore is never closed"),
            },
        };
        let ticket = self.queue(frame.partition).push(waiting);
        let _place = Place(self, frame.partition, ticket);
        self.send(frame.partition);
        acked.await.expect("each frame that was taken is answered")
    }

    /// Sends every message of `partition` that need not wait.
    fn send(&self, partition: PartitionId) {
        loop {
            let Some(message) = self.queue(partition).next_message() else {
                return;
            };
            let appender = self.clone();
            tokio::spawn(async move { appender.send_message(partition, message).await });
        }
    }

    async fn send_message(&self, partition: PartitionId, message: Message<Answer>) {
        let on_its_way = OnItsWay(self, partition);
        let to_append = NewMessage {
            partition,
            id: message.events.message_id(),
            payload: message.events.encode(),
            headers: message.headers.to_vec(),
        };
        let timer = self.0.metrics.publish_seconds.start_timer();
        let appended = match to_append.append(&self.0.log, None).await {
            Ok(AppendOutcome::Appended(appended)) => Ok(appended),
            Ok(AppendOutcome::EndsElsewhere { .. }) => {
                unreachable!("it was appended without a condition")
            }
            Err(error) => Err(Arc::new(error)),
        };
        timer.observe_duration();
        drop(on_its_way);
        for (idx, answer) in message.answers {
            let ack = appended.clone();
            let ack = ack.map(|appended| FrameAck::new(partition, appended, idx));
            // An error means that the client is gone.
            let _ = answer.ack.send(ack);
        }
    }

    fn queue(&self, partition: PartitionId) -> MutexGuard<'_, Queue<Answer>> {
        let queue = &self.0.queues[usize::from(partition.partition)];
        queue.lock().expect("nothing panics while it holds this")
    }
}

/// The place of a frame in the queue of its partition, which it leaves when nobody waits for it any more.
struct Place<'a>(&'a Appender, PartitionId, Ticket);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Self(appender, partition, ticket) = self;
        let withdrawn = appender.queue(*partition).withdraw(*ticket);
        drop(withdrawn);
    }
}

/// A message on its way. When it is not any more, whatever became of it, the next one goes.
struct OnItsWay<'a>(&'a Appender, PartitionId);

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        let Self(appender, partition) = self;
        appender.queue(*partition).acknowledged();
        appender.send(*partition);
    }
}
