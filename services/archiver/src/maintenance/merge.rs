//! Merges many small files of one kind into one file with the same rows.

use arrow::compute::concat_batches;
use cold_tier::{Change, ColdFile, CommitOutcome, Table};
use serde_json::{Map, json};

use super::Maintenance;
use crate::{plan, summary::Summary};

impl Maintenance<'_> {
    pub(super) async fn merge_small_files(&self, summary: &mut Summary) -> anyhow::Result<()> {
        for table in Table::ALL {
            let snapshot = self.cold.table_snapshot(table).await?;
            for files in plan::merges(snapshot.files(), self.file_memory) {
                self.progress
                    .set_step(format!("merge {} files", files.len()));
                self.merge(table, files, summary).await?;
            }
        }
        Ok(())
    }

    /// Merges those of `files` that can be read.
    async fn merge(
        &self,
        table: Table,
        files: Vec<ColdFile>,
        summary: &mut Summary,
    ) -> anyhow::Result<()> {
        let (mut read, mut batches) = (Vec::new(), Vec::new());
        for file in files {
            if let Some(rows) = self.read_live(&file, None, summary).await? {
                batches.extend(rows);
                read.push(file);
            }
        }
        if read.len() < 2 {
            return Ok(());
        }
        let rows = concat_batches(&table.schema(), &batches)?;
        let kind = plan::kind(&read[0]).expect("a file to merge has a provenance");
        let staged = self.stage(&kind, &read, rows, kind.sampled.clone()).await?;
        let count = read.len() as u64;
        let change = Change {
            adds: vec![staged],
            removes: read,
            only_rearranged: true,
            // "join" is how the log records a merge.
            info: Map::from_iter([("rewrite".to_owned(), json!("join"))]),
            ..Change::default()
        };
        let outcome = self.cold.commit(table, &change, self.now).await?;
        if matches!(outcome, CommitOutcome::Committed(_)) {
            summary.files_merged += count;
            summary.files_written += 1;
            self.metrics.files.inc();
        }
        Ok(())
    }
}
