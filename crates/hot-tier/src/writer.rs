//! Writing: the cursor and what it says, always together.

use std::time::Duration;

use event::{ConversationId, PartitionId, Seq, TenantId};
use event_proto::Pack;
use redis::{AsyncCommands as _, aio::ConnectionManager};

use crate::{
    connection::{self, OwnConnections},
    cursor::{Fields, HotCursor, Stats, from_score},
    error::{Error, Result},
    key::{Keys, id, member},
    script::{MARK, SKIP, START},
};

/// A large batch on a busy disk takes its time; beyond this the outcome is unknown.
const LIMIT: Duration = Duration::from_secs(10);

/// Consecutive events of one conversation.
#[derive(Clone, Debug)]
pub struct ConversationPack {
    pub tenant: TenantId,
    pub conversation: ConversationId,
    pub pack: Pack,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    Ok,
    /// The cursor is not where the batch begins: read it again, and the log behind it.
    Gap,
}

impl From<u8> for Appended {
    fn from(done: u8) -> Self {
        if done == 1 { Self::Ok } else { Self::Gap }
    }
}

/// A duplicate and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub tenant: TenantId,
    pub conversation: ConversationId,
    pub seq: Seq,
    pub idx: u16,
}

/// What became of a report of duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    Ok,
    /// Duplicates are known up to `checked` only: report all behind it again.
    Gap {
        checked: Seq,
    },
    /// There is no cursor: the hot tier was lost, or was never there. Try again later.
    NoCursor,
}

/// The writing side. Cheap to clone.
#[derive(Clone)]
pub struct HotWriter {
    pub(crate) connection: ConnectionManager,
    /// For appending.
    pub(crate) own: OwnConnections,
}

impl std::fmt::Debug for HotWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HotWriter").finish_non_exhaustive()
    }
}

impl HotWriter {
    /// Does not wait for the server: the first call does.
    pub async fn connect(url: &str) -> Result<Self> {
        let connection = connection::connect(url, LIMIT)?;
        let own = OwnConnections::new(url, LIMIT)?;
        Ok(Self { connection, own })
    }

    /// Verifies that the server never throws events away. Returns advice that it may run without.
    ///
    /// # Errors
    /// [`Error::Setup`] says what to set.
    pub async fn check_server(&self) -> Result<Vec<String>> {
        connection::check_server(self.connection.clone()).await
    }

    /// Whether the server answers.
    pub async fn ping(&self) -> Result<()> {
        let mut connection = self.connection.clone();
        redis::cmd("PING").exec_async(&mut connection).await?;
        Ok(())
    }

    /// How far the partition is; `None` when the tier knows nothing of this epoch of it.
    pub async fn cursor(&self, partition: PartitionId) -> Result<Option<HotCursor>> {
        let key = Keys::of(partition).cursor();
        let fields: Fields = self.connection.clone().hgetall(&key).await?;
        let cursor = HotCursor::parse(&key, &fields)?;
        Ok(cursor.filter(|cursor| cursor.epoch == partition.epoch))
    }

    /// Makes the partition begin at `floor`, unless it has begun; what an older epoch left is
    /// cleared. Returns the cursor that is then there.
    ///
    /// # Errors
    /// [`Error::Setup`] when the tier already holds a later epoch.
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
            .arg(keys.dropped_prefix());
        loop {
            let answer: String = invocation
                .invoke_async(&mut self.connection.clone())
                .await?;
            match answer.as_str() {
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

    /// Passes over what the log no longer has: the tier goes on at `floor` and promises nothing
    /// below.
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

    /// Hides `dropped`, which are all duplicates behind `after` up to `through`. May be repeated,
    /// and must be until it is [`Marked::Ok`].
    pub async fn mark_duplicates(
        &self,
        partition: PartitionId,
        after: Seq,
        through: Seq,
        dropped: &[Dropped],
    ) -> Result<Marked> {
        let keys = Keys::of(partition);
        let mut invocation = MARK.prepare_invoke();
        invocation.key(keys.cursor()).key(keys.conversations());
        invocation.arg(keys.epoch()).arg(after).arg(through);
        for duplicate in dropped {
            let member = member(&duplicate.tenant, &duplicate.conversation);
            invocation.key(keys.dropped(&member)).arg(member);
            invocation
                .arg(duplicate.seq)
                .arg(id((duplicate.seq, duplicate.idx)));
        }
        let answer: i64 = invocation
            .invoke_async(&mut self.connection.clone())
            .await?;
        Ok(match u64::try_from(answer) {
            Ok(checked) => Marked::Gap { checked },
            Err(_) if answer == -1 => Marked::Ok,
            Err(_) => Marked::NoCursor,
        })
    }

    /// What the partition holds; `None` when the tier knows nothing of it.
    pub async fn stats(&self, partition: PartitionId) -> Result<Option<Stats>> {
        let keys = Keys::of(partition);
        let key = keys.cursor();
        let mut pipe = redis::pipe();
        pipe.atomic().hgetall(&key);
        pipe.zrange_withscores(keys.heads(), 0, 0);
        let (fields, oldest): (Fields, Vec<(String, f64)>) =
            pipe.query_async(&mut self.connection.clone()).await?;
        let cursor = HotCursor::parse(&key, &fields)?;
        let at = oldest
            .first()
            .map(|(_, score)| from_score(*score).cast_signed());
        Ok(cursor
            .filter(|cursor| cursor.epoch == partition.epoch)
            .map(|cursor| Stats {
                cursor,
                oldest_at: at.map(event::Timestamp::from_micros),
            }))
    }
}
