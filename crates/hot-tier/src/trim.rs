//! Trims conversations from their oldest entry on, never above what is sealed in the warm tier.

use event::{ConversationId, PartitionId, Seq, TenantId, Timestamp};

use crate::{
    error::Result,
    key::{Keys, member, parse_member},
    script::{RAISE, TRIM},
    writer::HotWriter,
};

/// Limits on what a conversation may keep in the hot tier. An entry is removed when all of its events may
/// be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events with an earlier `received_at` are removed.
    pub older_than: Timestamp,
    /// At most so many events are kept, the newest ones; `None` is unlimited.
    pub max_events: Option<u64>,
    /// No event above this sequence is removed, since no other tier has it yet.
    pub sealed: Seq,
}

/// The numbers of events that a trim removed, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Older than [`Limits::older_than`].
    pub by_age: u64,
    /// More than [`Limits::max_events`].
    pub by_count: u64,
}

impl HotWriter {
    /// Lists the conversations with an event whose `received_at` is before `older_than`, and those with
    /// more than `more_than` events.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) is transient: retry.
    pub async fn candidates(
        &self,
        partition: PartitionId,
        older_than: Timestamp,
        more_than: Option<u64>,
    ) -> Result<Vec<(TenantId, ConversationId)>> {
        let keys = Keys::of(partition);
        let below = format!("({}", older_than.as_micros());
        // Without a limit, a range that is always empty.
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

    /// Removes the oldest events of one conversation that `limits` do not allow; removes its keys with
    /// its last event.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) is transient: retry. A full server does not
    /// refuse a trim.
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
            .key(keys.duplicates(&member));
        invocation.arg(keys.epoch()).arg(&member);
        invocation.arg(limits.older_than.as_micros());
        invocation.arg(limits.max_events.map_or(-1, u64::cast_signed));
        invocation.arg(limits.sealed);
        let mut trimmed = Trimmed::default();
        loop {
            let (by_age, by_count, more): (u64, u64, u8) = invocation
                .invoke_async(&mut self.connection.clone())
                .await?;
            trimmed.by_age += by_age;
            trimmed.by_count += by_count;
            if more == 0 {
                return Ok(trimmed);
            }
        }
    }

    /// Raises the partition's floor to the first event that is left. Call it after a round of
    /// [`HotWriter::trim`].
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) is transient: retry.
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
