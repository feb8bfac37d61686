//! Trimming: per conversation from the oldest entry on, never above what is sealed elsewhere.

use event::{ConversationId, PartitionId, Seq, TenantId, Timestamp};

use crate::{
    error::Result,
    key::{Keys, member, parse_member},
    script::{RAISE, TRIM},
    writer::HotWriter,
};

/// What a conversation may keep. An entry goes when all of its events may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events that the log took before go.
    pub older_than: Timestamp,
    /// The newest that stay, whatever their age was; `None` is any number.
    pub max_events: Option<u64>,
    /// Nothing above goes: it is nowhere else yet.
    pub sealed: Seq,
}

/// How many events went, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    pub by_age: u64,
    pub by_count: u64,
}

impl HotWriter {
    /// The conversations with an event that the log took before `older_than`, and those with more
    /// than `more_than` events.
    pub async fn candidates(
        &self,
        partition: PartitionId,
        older_than: Timestamp,
        more_than: Option<u64>,
    ) -> Result<Vec<(TenantId, ConversationId)>> {
        let keys = Keys::of(partition);
        let below = format!("({}", older_than.as_micros());
        // Without a limit: a range that is always empty.
        let above = more_than.map_or("+inf".to_owned(), |count| format!("({count}"));
        let mut pipe = redis::pipe();
        pipe.zrangebyscore(keys.heads(), "-inf", below);
        pipe.zrangebyscore(keys.sizes(), above, "+inf");
        let (old, large): (Vec<String>, Vec<String>) =
            pipe.query_async(&mut self.connection.clone()).await?;
        let mut members: Vec<_> = old.into_iter().chain(large).collect();
        members.sort_unstable();
        members.dedup();
        Ok(members
            .iter()
            .filter_map(|text| parse_member(text))
            .collect())
    }

    /// Removes what `limits` no longer allow of one conversation, and its keys with its last event.
    pub async fn trim(
        &self,
        partition: PartitionId,
        tenant: &TenantId,
        conversation: &ConversationId,
        limits: Limits,
    ) -> Result<Trimmed> {
        let keys = Keys::of(partition);
        let member = member(tenant, conversation);
        let mut invocation = TRIM.prepare_invoke();
        invocation.key(keys.cursor()).key(keys.conversations());
        invocation
            .key(keys.heads())
            .key(keys.sizes())
            .key(keys.floors());
        invocation
            .key(keys.packs(&member))
            .key(keys.dropped(&member));
        invocation.arg(keys.epoch()).arg(&member);
        invocation.arg(limits.older_than.as_micros());
        invocation.arg(limits.max_events.map_or(-1, u64::cast_signed));
        invocation.arg(limits.sealed);
        let mut trimmed = Trimmed::default();
        loop {
            let (aged, over, more): (u64, u64, u8) = invocation
                .invoke_async(&mut self.connection.clone())
                .await?;
            trimmed.by_age += aged;
            trimmed.by_count += over;
            if more == 0 {
                return Ok(trimmed);
            }
        }
    }

    /// Raises the partition's floor to the first event that is left. Call it after a round of
    /// [`HotWriter::trim`].
    pub async fn raise_floor(&self, partition: PartitionId) -> Result<()> {
        let keys = Keys::of(partition);
        let mut invocation = RAISE.prepare_invoke();
        invocation
            .key(keys.cursor())
            .key(keys.heads())
            .key(keys.floors());
        invocation.arg(keys.epoch()).arg(keys.packs_prefix());
        invocation
            .invoke_async::<()>(&mut self.connection.clone())
            .await?;
        Ok(())
    }
}
