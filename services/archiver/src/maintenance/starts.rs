//! The starts of conversations, on which the sampling of their events depends.

use std::collections::{BTreeMap, BTreeSet};

use cold_tier::Table;
use event::PartitionId;

use super::Maintenance;
use crate::{rewrite::ConversationStarts, summary::Summary};

impl Maintenance<'_> {
    /// Reads the start of every conversation of `partitions` from the summaries, which never expire. A
    /// partition is left out when one of its summaries is damaged or was just replaced: a later start
    /// would keep other events than declared.
    pub(super) async fn conversation_starts(
        &self,
        partitions: BTreeSet<PartitionId>,
        summary: &mut Summary,
    ) -> anyhow::Result<BTreeMap<PartitionId, ConversationStarts>> {
        let new = |partition| (partition, ConversationStarts::default());
        let mut starts: BTreeMap<_, _> = partitions.into_iter().map(new).collect();
        let snapshot = self.cold.table_snapshot(Table::ConversationSummary).await?;
        for file in snapshot.files() {
            // A file of another engine may have rows of any partition.
            let has_rows_of = |partition: PartitionId| match &file.provenance {
                Some(provenance) => provenance.ranges.iter().any(|(of, _)| *of == partition),
                None => true,
            };
            if !starts.keys().copied().any(has_rows_of) {
                continue;
            }
            match self.read_live(file, summary).await? {
                Some(batches) => {
                    let concerned = starts.iter_mut().filter(|(of, _)| has_rows_of(**of));
                    for (_, starts) in concerned {
                        batches.iter().for_each(|batch| starts.record_batch(batch));
                    }
                }
                None => starts.retain(|partition, _| !has_rows_of(*partition)),
            }
        }
        Ok(starts)
    }
}
