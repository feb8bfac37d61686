//! Appends: the packs of a batch and the cursor that covers them, in one MULTI/EXEC transaction.
//!
//! A transaction and not a Lua script, because Lua copies every pack in, hashes it, and copies it
//! out again. WATCH on the guard gives the same compare-and-set: EXEC fails when another writer has
//! moved the cursor since it was read.

use event::{PartitionId, Seq};
use redis::{AsyncCommands as _, ErrorKind, Pipeline, RedisError, ServerErrorKind};

use crate::{
    entry::Header,
    error::Result,
    key::{Keys, id, member},
    writer::{Appended, ConversationPack, HotWriter},
};

/// Sorted-set members that one ZADD sets. No reason for the number but to bound how long one command
/// blocks the server.
const MAX_MEMBERS_PER_COMMAND: usize = 1000;

impl HotWriter {
    /// Appends `packs` and moves the cursor from `expected_last` to `last`, both or neither. `packs`
    /// must be everything that the log has in that range.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) and [`Error::Full`](crate::Error::Full) are
    /// transient: retry with the same arguments. When the failed call was applied after all, the retry
    /// returns [`Appended::Gap`]. [`Error::Refused`](crate::Error::Refused) is permanent; if a stream
    /// refused its pack, the partition's cursor is deleted, so that the tier is filled again.
    pub async fn append(
        &self,
        partition: PartitionId,
        expected_last: Seq,
        last: Seq,
        packs: &[ConversationPack],
    ) -> Result<Appended> {
        let keys = Keys::of(partition);
        let mut connection = self.exclusive.acquire().await?;
        let mut begin = redis::pipe();
        begin.cmd("WATCH").arg(keys.guard()).ignore();
        begin.hmget(keys.cursor(), &["epoch", "last"]);
        let (current,): ([Option<String>; 2],) = begin.query_async(&mut connection).await?;
        let expected = [keys.epoch().to_string(), expected_last.to_string()];
        if current != expected.map(Some) {
            return Ok(Appended::Gap);
        }
        let replies = transaction(keys, last, packs)
            .query_async::<Option<Vec<redis::Value>>>(&mut connection)
            .await;
        match replies {
            // EXEC replies nil when the guard has changed.
            Ok(replies) => {
                self.exclusive.release(connection);
                Ok(replies.map_or(Appended::Gap, |_| Appended::Ok))
            }
            Err(error) => {
                if was_partly_applied(&error) {
                    self.delete_cursor(keys).await?;
                }
                Err(error.into())
            }
        }
    }

    /// Deletes the cursor after a stream refused its pack (it holds a later id, which it must not) while
    /// the cursor moved past it: the partition must be filled again.
    async fn delete_cursor(&self, keys: Keys) -> Result<()> {
        let mut connection = self.connection.clone();
        connection
            .del::<_, ()>(&[keys.cursor(), keys.guard()])
            .await?;
        Ok(())
    }
}

/// The transaction that appends `packs`, updates the indexes and moves the cursor to `last`.
fn transaction(keys: Keys, last: Seq, packs: &[ConversationPack]) -> Pipeline {
    let mut pipe = redis::pipe();
    pipe.atomic();
    let (mut tails, mut heads) = (Vec::new(), Vec::new());
    let (mut events, mut bytes) = (0, 0);
    for conversation_pack in packs {
        let Some(header) = Header::of(&conversation_pack.pack) else {
            continue;
        };
        let member = member(&conversation_pack.tenant, &conversation_pack.conversation);
        let encoded = conversation_pack.pack.encode();
        let entry = pipe.cmd("XADD").arg(keys.packs(&member));
        entry.arg(id(header.id)).arg("p").arg(&encoded[..]);
        entry.arg("n").arg(header.events);
        entry.arg("f").arg(header.first_at.as_micros());
        entry.arg("r").arg(header.last_at.as_micros());
        entry.arg("s").arg(header.first).ignore();
        pipe.zincr(keys.sizes(), &member, header.events).ignore();
        events += header.events;
        bytes += encoded.len();
        heads.push((header.first_at.as_micros(), member.clone()));
        tails.push((header.id.0, member));
    }
    for tails in tails.chunks(MAX_MEMBERS_PER_COMMAND) {
        pipe.zadd_multiple(keys.conversations(), tails).ignore();
    }
    for heads in heads.chunks(MAX_MEMBERS_PER_COMMAND) {
        let only_new = pipe.cmd("ZADD").arg(keys.heads()).arg("NX");
        only_new.arg(heads).ignore();
    }
    pipe.hset(keys.cursor(), "last", last).ignore();
    if events > 0 {
        pipe.hincr(keys.cursor(), "events", events).ignore();
        pipe.hincr(keys.cursor(), "bytes", bytes).ignore();
    }
    pipe.set(keys.guard(), last).ignore();
    pipe
}

/// Whether the transaction ran and one of its commands failed. A transaction that is refused before
/// it runs (EXECABORT, for example by a full server) has changed nothing.
fn was_partly_applied(error: &RedisError) -> bool {
    let aborted = ErrorKind::Server(ServerErrorKind::ExecAbort);
    error.kind() != aborted && error.clone().into_server_errors().is_some()
}
