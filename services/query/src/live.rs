//! Who has to look again: one reader per followed partition, which tells the followers of a
//! conversation that the log has something new for them.
//!
//! A signal carries no events. Whoever gets one reads through the same path as everybody else, so
//! history and live cannot differ.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use event::{ConversationId, PartitionId, Seq, TenantId};
use event_log::{EventLog, LogMessage};
use event_proto::Frame;
use futures::StreamExt as _;
use tokio::sync::watch;

/// How long a reader without followers goes on: the next page of the same client comes sooner.
const IDLE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

/// What is followed: a conversation, or all of a partition.
type Topic = Option<(TenantId, ConversationId)>;

#[derive(Clone, Debug)]
pub(crate) struct Live {
    log: EventLog,
    partitions: Arc<Mutex<HashMap<PartitionId, Arc<Partition>>>>,
}

#[derive(Debug, Default)]
struct Partition {
    topics: Mutex<HashMap<Topic, watch::Sender<Seq>>>,
}

impl Live {
    pub(crate) fn new(log: EventLog) -> Self {
        Self {
            log,
            partitions: Arc::default(),
        }
    }

    /// A watch that changes after anything new of `topic` can be read. Subscribe first, then read:
    /// then nothing is missed.
    pub(crate) fn follow(&self, partition: PartitionId, topic: Topic) -> watch::Receiver<Seq> {
        let mut partitions = lock(&self.partitions);
        let own = partitions.entry(partition).or_insert_with(|| {
            let own = Arc::new(Partition::default());
            tokio::spawn(self.clone().read(partition, Arc::clone(&own)));
            own
        });
        let mut topics = lock(&own.topics);
        topics.entry(topic).or_default().subscribe()
    }

    async fn read(self, partition: PartitionId, own: Arc<Partition>) {
        loop {
            if let Err(error) = self.read_once(partition, &own).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    %partition,
                    "will follow the log again"
                );
            } else if self.retire(partition, &own) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
            // What came meanwhile was signalled to nobody.
            own.signal_all(0);
        }
    }

    /// Until nobody follows any more.
    async fn read_once(&self, partition: PartitionId, own: &Partition) -> event_log::Result<()> {
        let next = self.log.last_seq(partition).await? + 1;
        let mut messages = self.log.read_from(partition, next).await?;
        own.signal_all(next - 1);
        loop {
            match tokio::time::timeout(IDLE, messages.next()).await {
                Ok(Some(message)) => own.signal(message?),
                Ok(None) => return Ok(()),
                Err(_idle) if own.is_abandoned() => return Ok(()),
                Err(_idle) => {}
            }
        }
    }

    /// Ends the reader, unless somebody came in this very moment.
    fn retire(&self, partition: PartitionId, own: &Partition) -> bool {
        let mut partitions = lock(&self.partitions);
        let abandoned = own.is_abandoned();
        if abandoned {
            partitions.remove(&partition);
        }
        abandoned
    }
}

impl Partition {
    fn signal(&self, message: LogMessage) {
        let LogMessage { seq, payload, .. } = message;
        let mut topics = lock(&self.topics);
        topics.retain(|_, sender| sender.receiver_count() > 0);
        if topics.is_empty() {
            return;
        }
        let Ok(frame) = Frame::decode(payload) else {
            // The readers will say what is wrong with it.
            for sender in topics.values() {
                sender.send_replace(seq);
            }
            return;
        };
        let conversations = frame.conversations.into_iter();
        let of_frame = conversations.map(|one| Some((frame.tenant.clone(), one)));
        for topic in of_frame.chain([None]) {
            if let Some(sender) = topics.get(&topic) {
                sender.send_replace(seq);
            }
        }
    }

    fn signal_all(&self, seq: Seq) {
        for sender in lock(&self.topics).values() {
            sender.send_replace(seq);
        }
    }

    fn is_abandoned(&self) -> bool {
        lock(&self.topics)
            .values()
            .all(|sender| sender.receiver_count() == 0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds this")
}
