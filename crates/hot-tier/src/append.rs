//! Appending: the packs of a drain and the cursor that covers them, in one transaction.
//!
//! Not in a script, though a script could compare and append at once: its language copies every pack
//! in, hashes it, and copies it out again. A transaction that watches the guard says as well whether
//! anybody else has moved the cursor since it was read.

use event::{PartitionId, Seq};
use redis::{AsyncCommands as _, ErrorKind, Pipeline, RedisError, ServerErrorKind};

use crate::{
    entry::Header,
    error::Result,
    key::{Keys, id, member},
    writer::{Appended, ConversationPack, HotWriter},
};

/// Members that one command sets, at most.
const MAX_MEMBERS: usize = 1000;

impl HotWriter {
    /// Appends `packs`, which are all that the log has behind `expected_last` up to `last`, and
    /// moves the cursor, both or neither. May be repeated after any error: when the first try
    /// succeeded after all, the second finds a gap.
    pub async fn append(
        &self,
        partition: PartitionId,
        expected_last: Seq,
        last: Seq,
        packs: &[ConversationPack],
    ) -> Result<Appended> {
        let keys = Keys::of(partition);
        let mut connection = self.own.take().await?;
        let mut begin = redis::pipe();
        begin.cmd("WATCH").arg(keys.guard()).ignore();
        begin.hmget(keys.cursor(), &["epoch", "last"]);
        let (at,): ([Option<String>; 2],) = begin.query_async(&mut connection).await?;
        let expected = [keys.epoch().to_string(), expected_last.to_string()];
        if at != expected.map(Some) {
            return Ok(Appended::Gap);
        }
        let done = transaction(keys, last, packs)
            .query_async::<Option<Vec<redis::Value>>>(&mut connection)
            .await;
        match done {
            Ok(done) => {
                self.own.give_back(connection);
                Ok(done.map_or(Appended::Gap, |_| Appended::Ok))
            }
            Err(error) => {
                if was_partly_done(&error) {
                    self.forget(keys).await?;
                }
                Err(error.into())
            }
        }
    }

    /// A stream that holds what it cannot hold refused its pack, and the cursor says that it is
    /// there: the tier must be filled anew.
    async fn forget(&self, keys: Keys) -> Result<()> {
        let mut connection = self.connection.clone();
        connection
            .del::<_, ()>(&[keys.cursor(), keys.guard()])
            .await?;
        Ok(())
    }
}

/// Everything that `packs` change, and the cursor.
fn transaction(keys: Keys, last: Seq, packs: &[ConversationPack]) -> Pipeline {
    let mut pipe = redis::pipe();
    pipe.atomic();
    let (mut tails, mut heads) = (Vec::new(), Vec::new());
    let (mut events, mut bytes) = (0, 0);
    for own in packs {
        let Some(header) = Header::of(&own.pack) else {
            continue;
        };
        let (member, encoded) = (member(&own.tenant, &own.conversation), own.pack.encode());
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
    for tails in tails.chunks(MAX_MEMBERS) {
        pipe.zadd_multiple(keys.conversations(), tails).ignore();
    }
    for heads in heads.chunks(MAX_MEMBERS) {
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

/// Whether the transaction ran and one of its commands was refused. One that was refused before it
/// ran, as by a server that is full, has changed nothing.
fn was_partly_done(error: &RedisError) -> bool {
    let aborted = ErrorKind::Server(ServerErrorKind::ExecAbort);
    error.kind() != aborted && error.clone().into_server_errors().is_some()
}
