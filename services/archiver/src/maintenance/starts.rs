//! The starts of conversations, on which the sampling of their events depends.

use std::collections::VecDeque;

use cold_tier::{ColdFile, Table};
use event::PartitionId;

use super::Maintenance;
use crate::{rewrite::ConversationStarts, summary::Summary};

/// Bytes of a conversation with its start in memory, about: two names and the table around them.
const BYTES_PER_START: u64 = 256;
/// The columns of `conversation_summary` that say where a conversation starts.
const START_COLUMNS: [&str; 8] = [
    "tenant",
    "conversation_id",
    "start_timestamp",
    "start_seq",
    "start_idx",
    "generation",
    "partition",
    "epoch",
];

impl Maintenance<'_> {
    /// Takes files from the front of `files`, at least one, until their conversations fill the memory of
    /// one step. Returns them without those that cannot be read, and their conversations.
    pub(super) async fn next_round(
        &self,
        files: &mut VecDeque<ColdFile>,
        summary: &mut Summary,
    ) -> anyhow::Result<(Vec<ColdFile>, ConversationStarts)> {
        let (mut round, mut starts) = (Vec::new(), ConversationStarts::default());
        while starts.len() * BYTES_PER_START < self.file_memory
            && let Some(file) = files.pop_front()
        {
            let names = ["tenant", "conversation_id"];
            if let Some(batches) = self.read_live(&file, Some(&names), summary).await? {
                batches.iter().for_each(|batch| starts.want(batch));
                round.push(file);
            }
        }
        Ok((round, starts))
    }

    /// Finds the starts of the conversations of `starts`, which are of `partition`, in the summaries, which
    /// never expire. `None` when one of the summaries is damaged or was just replaced: a later start would
    /// keep other events than declared.
    pub(super) async fn find_starts(
        &self,
        partition: PartitionId,
        mut starts: ConversationStarts,
        summary: &mut Summary,
    ) -> anyhow::Result<Option<ConversationStarts>> {
        let snapshot = self.cold.table_snapshot(Table::ConversationSummary).await?;
        for file in snapshot.files() {
            if !may_have_starts(file, partition, &starts) {
                continue;
            }
            let read = self.read_live(file, Some(&START_COLUMNS), summary);
            let Some(batches) = read.await? else {
                return Ok(None);
            };
            batches.iter().for_each(|batch| starts.record_batch(batch));
        }
        Ok(Some(starts))
    }
}

/// Whether `file` may have one of the conversations of `starts`. A file of another engine may have rows of
/// any partition.
fn may_have_starts(file: &ColdFile, partition: PartitionId, starts: &ConversationStarts) -> bool {
    let provenance = file.provenance.as_ref();
    let is_of_partition =
        provenance.is_none_or(|own| own.ranges.iter().any(|(of, _)| *of == partition));
    let bounds = file.extent.conversation.as_ref().zip(starts.bounds());
    is_of_partition
        && bounds.is_none_or(|((least, greatest), (first, last))| {
            least.as_str() <= last && first <= greatest.as_str()
        })
}
