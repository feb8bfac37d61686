//! The rows of one read of a tenant's tail.

use std::collections::{BTreeMap, HashSet};

use event::{ConversationId, PartitionId, Position, Seq, SeqRange, StoredEvent};
use futures::TryStreamExt as _;

use super::TenantTail;
use crate::{
    dedup_wait::DedupState,
    log_rows::LogRows,
    memory::{TAIL_PAGE_BYTES, row_bytes},
    rows::SourceError,
};

impl TenantTail {
    /// Returns those of `rows`, of `range` of one partition, that the client is to get: behind the cursor, and
    /// without known duplicates.
    pub(super) async fn new_rows(
        &self,
        index: usize,
        mut rows: Vec<StoredEvent>,
        range: SeqRange,
        dedup: &DedupState,
    ) -> Vec<StoredEvent> {
        rows.retain(|row| {
            row.event.tenant == self.tenant
                && row.position.offset() > self.cursor.0[index]
                && self.types.matches(row.event.event_type.as_str())
                && !dedup.is_duplicate(&row.position)
        });
        let checked = dedup.log_range();
        if !checked.is_some_and(|checked| checked.lo <= range.lo && range.hi <= checked.hi) {
            let duplicates = self.duplicates_in_hot(&rows).await;
            rows.retain(|row| !duplicates.contains(&row.position));
        }
        rows
    }

    /// Reads the first messages of `range`, about a small page of rows. Returns also the last sequence.
    pub(super) async fn read_log(
        &self,
        partition: PartitionId,
        range: SeqRange,
    ) -> Result<(LogRows, Seq), SourceError> {
        let sources = &self.service.sources;
        let mut messages = sources.log_messages(partition, range).await?;
        let (mut read, mut bytes, mut last) = (LogRows::default(), 0, range.lo);
        while bytes < TAIL_PAGE_BYTES
            && let Some(item) = messages.try_next().await?
        {
            let known = read.rows.len();
            last = item.last();
            read.add(item, None);
            bytes += read.rows[known..].iter().map(row_bytes).sum::<usize>();
        }
        Ok((read, last))
    }

    /// Returns the positions of `rows` that the hot tier knows as duplicates. If it does not answer,
    /// only `recent` prevents duplicates.
    async fn duplicates_in_hot(&self, rows: &[StoredEvent]) -> HashSet<Position> {
        type Offsets = Vec<(Seq, u16)>;
        let mut by_conversation: BTreeMap<(PartitionId, &ConversationId), Offsets> =
            BTreeMap::new();
        for row in rows {
            let key = (row.position.partition, &row.event.conversation_id);
            let offsets = by_conversation.entry(key).or_default();
            offsets.push(row.position.offset());
        }
        let hot = &self.service.sources.hot;
        let mut duplicates = HashSet::new();
        for ((partition, conversation), offsets) in by_conversation {
            let known = hot.duplicates(partition, &self.tenant, conversation, &offsets);
            let known = known.await.unwrap_or_default();
            duplicates.extend(
                known
                    .into_iter()
                    .map(|(seq, idx)| Position::new(partition, seq, idx)),
            );
        }
        duplicates
    }
}
