//! Signals for tails: one reader of the log per followed partition, which signals the followers of a
//! conversation when the log has new events of it.
//!
//! A signal carries no events. Its receiver reads through the same path as every other request, so
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

/// Time without followers and messages after which a reader ends; long enough for a client
/// to reconnect.
const READER_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before a reader whose stream failed reads the log again.
const READER_RETRY_PAUSE: Duration = Duration::from_millis(500);

/// A followed conversation, or `None` for all of a partition.
type Topic = Option<(TenantId, ConversationId)>;

/// The readers of all followed partitions.
#[derive(Clone, Debug)]
pub(crate) struct LiveSignals {
    log: EventLog,
    partitions: Arc<Mutex<HashMap<PartitionId, Arc<PartitionSignals>>>>,
}

/// The followed topics of one partition, each with the last sequence that was signalled.
#[derive(Debug, Default)]
struct PartitionSignals {
    topics: Mutex<HashMap<Topic, watch::Sender<Seq>>>,
}

impl LiveSignals {
    pub(crate) fn new(log: EventLog) -> Self {
        Self {
            log,
            partitions: Arc::default(),
        }
    }

    /// Returns a watch that changes after new events of `topic` can be read. Subscribe first, then
    /// read: then nothing is missed.
    pub(crate) fn follow(&self, partition: PartitionId, topic: Topic) -> watch::Receiver<Seq> {
        let mut partitions = lock(&self.partitions);
        let signals = partitions.entry(partition).or_insert_with(|| {
            let signals = Arc::new(PartitionSignals::default());
            tokio::spawn(self.clone().run_reader(partition, Arc::clone(&signals)));
            signals
        });
        let mut topics = lock(&signals.topics);
        topics.entry(topic).or_default().subscribe()
    }

    /// Reads the partition, again after each failure, until it has no followers.
    async fn run_reader(self, partition: PartitionId, signals: Arc<PartitionSignals>) {
        loop {
            if let Err(error) = self.signal_new_messages(partition, &signals).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    %partition,
                    "follow of the log failed, will retry"
                );
            } else if self.remove_if_abandoned(partition, &signals) {
                return;
            }
            tokio::time::sleep(READER_RETRY_PAUSE).await;
            // Events that came meanwhile were not signalled.
            signals.signal_all(0);
        }
    }

    /// Reads the log from its end on and signals, until there are no followers.
    async fn signal_new_messages(
        &self,
        partition: PartitionId,
        signals: &PartitionSignals,
    ) -> event_log::Result<()> {
        let next = self.log.last_seq(partition).await? + 1;
        let mut messages = self.log.read_from(partition, next).await?;
        signals.signal_all(next - 1);
        loop {
            match tokio::time::timeout(READER_IDLE_TIMEOUT, messages.next()).await {
                Ok(Some(message)) => signals.signal(message?),
                Ok(None) => return Ok(()),
                Err(_elapsed) if signals.is_abandoned() => return Ok(()),
                Err(_elapsed) => {}
            }
        }
    }

    /// Removes the partition unless it has a new follower; its reader then ends.
    fn remove_if_abandoned(&self, partition: PartitionId, signals: &PartitionSignals) -> bool {
        let mut partitions = lock(&self.partitions);
        let abandoned = signals.is_abandoned();
        if abandoned {
            partitions.remove(&partition);
        }
        abandoned
    }
}

impl PartitionSignals {
    fn signal(&self, message: LogMessage) {
        let LogMessage { seq, payload, .. } = message;
        let mut topics = lock(&self.topics);
        topics.retain(|_, sender| sender.receiver_count() > 0);
        if topics.is_empty() {
            return;
        }
        let Ok(frame) = Frame::decode(payload) else {
            // Signal all: the reads report the frame.
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
