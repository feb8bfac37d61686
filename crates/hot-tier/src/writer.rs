//! Writes to the hot tier: the cursor always moves together with the data that it covers.

use std::time::Duration;

use event::{ConversationId, PartitionId, Seq, TenantId};
use event_proto::Pack;
use redis::{AsyncCommands as _, aio::ConnectionManager};

use crate::{
    connection::{self, ExclusiveConnections},
    cursor::{Fields, HotCursor, Stats, from_score},
    error::{Error, Result},
    key::{Keys, id, member},
    script::{MARK, SKIP, START},
};

/// Long, because a large batch on a busy disk takes seconds; beyond it the outcome is unknown.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Consecutive events of one conversation, to be stored as one entry.
#[derive(Clone, Debug)]
pub struct ConversationPack {
    pub tenant: TenantId,
    pub conversation: ConversationId,
    pub pack: Pack,
}

/// The result of moving the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    Ok,
    /// The cursor is not at the expected sequence, and nothing was changed: read the cursor again, and
    /// the log behind it.
    Gap,
}

impl From<u8> for Appended {
    fn from(done: u8) -> Self {
        if done == 1 { Self::Ok } else { Self::Gap }
    }
}

/// An event to be marked as a duplicate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateEvent {
    pub tenant: TenantId,
    pub conversation: ConversationId,
    pub seq: Seq,
    pub idx: u16,
}

/// The result of marking duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    Ok,
    /// Duplicates are known up to `checked` only, and nothing was changed: mark all behind it again.
    Gap {
        checked: Seq,
    },
    /// The partition has no cursor: it was lost, or was never filled. Retry later.
    NoCursor,
}

/// A client that writes to the hot tier. Cheap to clone.
#[derive(Clone)]
pub struct HotWriter {
    pub(crate) connection: ConnectionManager,
    /// Connections for appending transactions.
    pub(crate) exclusive: ExclusiveConnections,
}

impl std::fmt::Debug for HotWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HotWriter").finish_non_exhaustive()
    }
}

impl HotWriter {
    /// Creates a client for the server at `url`. The connection is opened by the first call.
    ///
    /// # Errors
    /// [`Error::Setup`] when `url` is not valid.
    pub async fn connect(url: &str) -> Result<Self> {
        let connection = connection::connect(url, WRITE_TIMEOUT)?;
        let exclusive = ExclusiveConnections::new(url, WRITE_TIMEOUT)?;
        Ok(Self {
            connection,
            exclusive,
        })
    }

    /// Verifies the server's version and that it never evicts keys. Returns recommendations about settings
    /// that are not required.
    ///
    /// # Errors
    /// [`Error::Setup`] says what to set on the server. [`Error::Unavailable`] is transient: retry.
    pub async fn check_server(&self) -> Result<Vec<String>> {
        connection::check_server(self.connection.clone()).await
    }

    /// Checks that the server answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while it does not: retry.
    pub async fn ping(&self) -> Result<()> {
        let mut connection = self.connection.clone();
        redis::cmd("PING").exec_async(&mut connection).await?;
        Ok(())
    }

    /// Reads the partition's cursor; `None` when the tier has none for this epoch.
    ///
    /// # Errors
    /// [`Error::Unavailable`] is transient: retry. [`Error::Damaged`] when a field is not a number.
    pub async fn cursor(&self, partition: PartitionId) -> Result<Option<HotCursor>> {
        let key = Keys::of(partition).cursor();
        let fields: Fields = self.connection.clone().hgetall(&key).await?;
        let cursor = HotCursor::parse(&key, &fields)?;
        Ok(cursor.filter(|cursor| cursor.epoch == partition.epoch))
    }

    /// Creates the partition's cursor at `floor`, unless it has one for this epoch; removes the data of
    /// an older epoch. Returns the cursor.
    ///
    /// # Errors
    /// [`Error::Setup`] when the tier already holds a later epoch: stop. [`Error::Unavailable`] and
    /// [`Error::Full`] are transient: retry.
    pub async fn start(&self, partition: PartitionId, floor: Seq) -> Result<HotCursor> {
        let keys = Keys::of(partition);
        let mut invocation = START.prepare_invoke();
        invocation.key(keys.cursor()).key(keys.conversations());
        invocation
            .key(keys.heads())
            .key(keys.sizes())
            .key(keys.floors())
            .key(keys.guard());
        invocation.arg(keys.epoch()).arg(floor.max(1));
        invocation
            .arg(keys.packs_prefix())
            .arg(keys.duplicates_prefix());
        loop {
            let reply: String = invocation
                .invoke_async(&mut self.connection.clone())
                .await?;
            match reply.as_str() {
                "MORE" => {}
                "NEWER" => {
                    return Err(Error::Setup(format!(
                        "the hot tier holds a later epoch of partition {partition}"
                    )));
                }
                _ => break,
            }
        }
        let cursor = self.cursor(partition).await?;
        cursor.ok_or_else(|| Error::shape(&keys.cursor(), "cursor"))
    }

    /// Skips a range that the log no longer has: moves the cursor from `expected_last` to just before
    /// `floor`, which becomes the partition's floor.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Full`] are transient: retry.
    pub async fn skip(
        &self,
        partition: PartitionId,
        expected_last: Seq,
        floor: Seq,
    ) -> Result<Appended> {
        let keys = Keys::of(partition);
        let mut invocation = SKIP.prepare_invoke();
        invocation.key(keys.cursor()).key(keys.guard());
        invocation.arg(keys.epoch()).arg(expected_last);
        invocation.arg(floor - 1).arg(floor);
        let done: u8 = invocation
            .invoke_async(&mut self.connection.clone())
            .await?;
        Ok(Appended::from(done))
    }

    /// Marks `duplicates`, so that reads filter them out; they must be all duplicates behind the sequence
    /// `after` up to `through`. Idempotent; repeat it until it returns [`Marked::Ok`].
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Full`] are transient: retry.
    pub async fn mark_duplicates(
        &self,
        partition: PartitionId,
        after: Seq,
        through: Seq,
        duplicates: &[DuplicateEvent],
    ) -> Result<Marked> {
        let keys = Keys::of(partition);
        let mut invocation = MARK.prepare_invoke();
        invocation.key(keys.cursor()).key(keys.conversations());
        invocation.arg(keys.epoch()).arg(after).arg(through);
        for duplicate in duplicates {
            let member = member(&duplicate.tenant, &duplicate.conversation);
            invocation.key(keys.duplicates(&member)).arg(member);
            invocation
                .arg(duplicate.seq)
                .arg(id((duplicate.seq, duplicate.idx)));
        }
        let reply: i64 = invocation
            .invoke_async(&mut self.connection.clone())
            .await?;
        Ok(match u64::try_from(reply) {
            Ok(checked) => Marked::Gap { checked },
            Err(_) if reply == -1 => Marked::Ok,
            Err(_) => Marked::NoCursor,
        })
    }

    /// Reads the partition's cursor and the time of its oldest event; `None` when the tier has no cursor
    /// for this epoch.
    ///
    /// # Errors
    /// [`Error::Unavailable`] is transient: retry. [`Error::Damaged`] when a field is not a number.
    pub async fn stats(&self, partition: PartitionId) -> Result<Option<Stats>> {
        let keys = Keys::of(partition);
        let key = keys.cursor();
        let mut pipe = redis::pipe();
        pipe.atomic().hgetall(&key);
        pipe.zrange_withscores(keys.heads(), 0, 0);
        let (fields, oldest): (Fields, Vec<(String, f64)>) =
            pipe.query_async(&mut self.connection.clone()).await?;
        let cursor = HotCursor::parse(&key, &fields)?;
        let oldest_at = oldest
            .first()
            .map(|(_, score)| from_score(*score).cast_signed());
        Ok(cursor
            .filter(|cursor| cursor.epoch == partition.epoch)
            .map(|cursor| Stats {
                cursor,
                oldest_at: oldest_at.map(event::Timestamp::from_micros),
            }))
    }
}
