//! What all conditional appends of the process share: their own queue, and what they have read of the log.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use event::{PartitionId, Position, Seq, SeqRange};
use event_log::{Error, EventLog, LogMessage};
use futures::{Stream, StreamExt as _};
use prometheus::IntCounter;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::ends::{ConversationEnd, ConversationEnds, IndexedMessage, MAX_MESSAGES, NameHash};
use crate::{body::ADMISSION_TIMEOUT, problem::Problem};

/// Conditional appends that are processed at the same time.
const MAX_RUNNING: usize = 16;
/// Conditional appends that wait or run; more are refused at once, to bound the memory of their connections.
const MAX_ADMITTED: usize = 256;
/// Most bytes of the index of all partitions together; the one that was not used for longest is dropped.
const MAX_INDEX_BYTES: usize = 32 << 20;
/// Most bytes of the index of one partition; its oldest messages are removed.
const MAX_PARTITION_BYTES: usize = MAX_INDEX_BYTES / 2;
/// A longer range is read with a consumer: one request for many messages.
const MAX_SINGLE_READS: Seq = 256;

/// The queue of conditional appends, and an index of the newest messages of each partition that has some.
#[derive(Debug)]
pub(crate) struct Conditions {
    admitted: Semaphore,
    running: Semaphore,
    partitions: Mutex<Partitions>,
    messages_read: IntCounter,
}

/// `None` before the first read. Its lock is held while the log is read, so that one request reads for all.
type Ends = Arc<tokio::sync::Mutex<Option<ConversationEnds>>>;

#[derive(Debug, Default)]
struct Partitions {
    uses: u64,
    by_id: HashMap<PartitionId, PartitionEnds>,
}

#[derive(Debug, Default)]
struct PartitionEnds {
    ends: Ends,
    bytes: usize,
    last_use: u64,
}

/// A conditional append that is being processed.
#[derive(Debug)]
pub(crate) struct Admission<'a> {
    _admitted: SemaphorePermit<'a>,
    _running: SemaphorePermit<'a>,
}

/// Why it is not known where a conversation ends.
#[derive(Debug)]
pub(super) enum EndError {
    /// The log, or the index, does not reach back to the position.
    OutOfReach,
    Log(Error),
}

impl From<Error> for EndError {
    fn from(error: Error) -> Self {
        Self::Log(error)
    }
}

impl Conditions {
    /// `messages_read` counts the messages of the log that are read.
    pub(crate) fn new(messages_read: IntCounter) -> Self {
        Self {
            admitted: Semaphore::new(MAX_ADMITTED),
            running: Semaphore::new(MAX_RUNNING),
            partitions: Mutex::default(),
            messages_read,
        }
    }

    /// Waits for a place among the conditional appends.
    ///
    /// # Errors
    /// The problem when none is free in time, or too many wait.
    pub(crate) async fn admit(&self) -> Result<Admission<'_>, Problem> {
        let full = |_| Problem::too_many_conditions();
        let admitted = self.admitted.try_acquire().map_err(full)?;
        let running = tokio::time::timeout(ADMISSION_TIMEOUT, self.running.acquire()).await;
        let running = running.map_err(|_| Problem::too_many_conditions())?;
        Ok(Admission {
            _admitted: admitted,
            _running: running.expect("the semaphore is never closed"),
        })
    }

    /// Where `conversation` ends, and the sequence through which that is known. A refusal costs no read of the
    /// log when the index has its reason; that a conversation ends as expected is known through the end of the
    /// log.
    pub(super) async fn end(
        &self,
        log: &EventLog,
        conversation: NameHash,
        expected: Position,
        id: NameHash,
    ) -> Result<(ConversationEnd, Seq), EndError> {
        let partition = expected.partition;
        let shared = self.ends_of(partition);
        let mut shared = shared.lock().await;
        if let Some(ends) = shared.as_ref().filter(|ends| ends.first() <= expected.seq) {
            let end = ends.end(conversation, expected, id);
            let moved = |end: Position| end.seq >= expected.seq;
            if matches!(end, ConversationEnd::Stored(_))
                || matches!(end, ConversationEnd::Elsewhere(Some(end)) if moved(end))
            {
                return Ok((end, ends.last()));
            }
        }
        let read = self.catch_up(log, partition, expected.seq, &mut shared);
        let read = read.await;
        let bytes = shared.as_ref().map_or(0, ConversationEnds::bytes);
        self.account(partition, bytes);
        read?;
        let ends = shared.as_ref().ok_or(EndError::OutOfReach)?;
        let end = ends.end(conversation, expected, id);
        // What made room for newer messages says nothing of the position.
        let reaches = ends.first() <= expected.seq.clamp(1, ends.last() + 1);
        let end = end.known(reaches).ok_or(EndError::OutOfReach)?;
        Ok((end, ends.last()))
    }

    /// Whether a person has decided about the message `seq`, which cannot be read. Then it is passed over from
    /// now on.
    pub(super) async fn is_settled(
        &self,
        log: &EventLog,
        partition: PartitionId,
        seq: Seq,
    ) -> Result<bool, Error> {
        let unreadable = SeqRange { lo: seq, hi: seq }.into();
        if !log.undecided(partition, &unreadable).await?.is_empty() {
            return Ok(false);
        }
        if let Some(ends) = self.ends_of(partition).lock().await.as_mut() {
            ends.pass_over(seq);
        }
        Ok(true)
    }

    /// Indexes everything from `expected` to the end of the log.
    async fn catch_up(
        &self,
        log: &EventLog,
        partition: PartitionId,
        expected: Seq,
        shared: &mut Option<ConversationEnds>,
    ) -> Result<(), EndError> {
        let state = log.state(partition).await?;
        let next = state.last + 1;
        let from = expected.clamp(1, next);
        if from < state.first.max(next.saturating_sub(MAX_MESSAGES)) {
            return Err(EndError::OutOfReach);
        }
        // After a purge, a restore, or a long time without conditions it begins anew.
        let continues = |ends: &ConversationEnds| {
            let behind = ends.last() + 1;
            (state.first..=next).contains(&behind) && next - behind <= MAX_MESSAGES
        };
        if !shared.as_ref().is_some_and(continues) {
            *shared = None;
        }
        let ends = shared.get_or_insert_with(|| ConversationEnds::starting_at(from));
        let read = self
            .read_around(log, partition, from, state.last, ends)
            .await;
        // The connection may have come to another log meanwhile; or it was purged.
        let checked = match read {
            Ok(()) => log.check_identity(partition).await.map_err(EndError::Log),
            Err(error) => Err(error),
        };
        if checked.is_err() {
            *shared = None;
        }
        checked
    }

    /// Reads what is behind the index up to `last`, and what is before it down to `from`. What is read stays
    /// known when the request ends meanwhile.
    async fn read_around(
        &self,
        log: &EventLog,
        partition: PartitionId,
        from: Seq,
        last: Seq,
        ends: &mut ConversationEnds,
    ) -> Result<(), EndError> {
        if let Some(newest) = SeqRange::new(ends.last() + 1, last) {
            let push = |message| ends.push_newest(message, MAX_PARTITION_BYTES);
            self.read(log, partition, newest, push).await?;
        }
        while from < ends.first() && ends.may_reach(from) {
            let lo = from.max(ends.first().saturating_sub(MAX_SINGLE_READS));
            let oldest = SeqRange {
                lo,
                hi: ends.first() - 1,
            };
            let mut messages = Vec::new();
            self.read(log, partition, oldest, |message| messages.push(message))
                .await?;
            for message in messages.into_iter().rev() {
                ends.push_oldest(message, MAX_PARTITION_BYTES);
            }
        }
        Ok(())
    }

    /// Reads a range of the log without a gap.
    async fn read(
        &self,
        log: &EventLog,
        partition: PartitionId,
        range: SeqRange,
        push: impl FnMut(IndexedMessage),
    ) -> Result<(), EndError> {
        if range.hi - range.lo >= MAX_SINGLE_READS {
            let messages = log.read_from(partition, range.lo).await?;
            return self.push_all(messages, range, push).await;
        }
        let messages = log.read_range(partition, range).await?;
        self.push_all(messages, range, push).await
    }

    async fn push_all(
        &self,
        mut messages: impl Stream<Item = event_log::Result<LogMessage>> + Unpin,
        range: SeqRange,
        mut push: impl FnMut(IndexedMessage),
    ) -> Result<(), EndError> {
        for seq in range.lo..=range.hi {
            let message = messages.next().await.ok_or(EndError::OutOfReach)??;
            self.messages_read.inc();
            if message.seq != seq {
                return Err(EndError::OutOfReach);
            }
            push(message.into());
        }
        Ok(())
    }

    /// The index of `partition`.
    fn ends_of(&self, partition: PartitionId) -> Ends {
        let mut partitions = self.partitions();
        partitions.uses += 1;
        let uses = partitions.uses;
        let known = partitions.by_id.entry(partition).or_default();
        known.last_use = uses;
        Arc::clone(&known.ends)
    }

    /// Notes what the index of `partition` takes, and drops others while all together take too much.
    fn account(&self, partition: PartitionId, bytes: usize) {
        let mut partitions = self.partitions();
        if let Some(known) = partitions.by_id.get_mut(&partition) {
            known.bytes = bytes;
        }
        while partitions
            .by_id
            .values()
            .map(|known| known.bytes)
            .sum::<usize>()
            > MAX_INDEX_BYTES
        {
            let others = partitions.by_id.iter().filter(|(id, _)| **id != partition);
            let Some((unused, _)) = others.min_by_key(|(_, known)| known.last_use) else {
                return;
            };
            let unused = *unused;
            partitions.by_id.remove(&unused);
        }
    }

    fn partitions(&self) -> MutexGuard<'_, Partitions> {
        self.partitions
            .lock()
            .expect("nothing panics while it holds this")
    }
}
