//! Removes rows that are past their age, and records when a file is due again.

use cold_tier::{Change, StagedFile, Table};
use serde_json::{Map, json};

use super::{Maintenance, RewriteBatch, files::AppliedRules};
use crate::{plan, summary::Summary};

/// Files whose judgement is recorded in one commit; bounds the work that a conflict loses.
const MAX_JUDGEMENTS_PER_COMMIT: usize = 64;

impl Maintenance<'_> {
    /// Removes the expired rows of files in which an age is past by the rules in force. A file without
    /// expired rows is not read again by the same rules before an age of its own rows is past.
    pub(super) async fn expire(&self, summary: &mut Summary) -> anyhow::Result<()> {
        let mut judged = Vec::new();
        for file in self.due_files(|due| due.expiry).await? {
            self.progress.set_step(format!("expire {}", file.path));
            let Some(applied) = self.apply_rules(&file, None, summary).await? else {
                continue;
            };
            if applied.result.expired > 0 || applied.result.kept.is_empty() {
                self.rewrite_without_expired(applied, summary).await?;
                continue;
            }
            judged.push(applied.judged(self.policy, self.now));
            if judged.len() == MAX_JUDGEMENTS_PER_COMMIT {
                self.commit_judged(std::mem::take(&mut judged)).await?;
            }
        }
        self.commit_judged(judged).await
    }

    async fn rewrite_without_expired(
        &self,
        applied: AppliedRules,
        summary: &mut Summary,
    ) -> anyhow::Result<()> {
        let AppliedRules { file, result, .. } = applied;
        let kind = plan::kind(&file).expect("a file that is due has a provenance");
        let expired = result.expired;
        let mut batch = RewriteBatch::default();
        batch.push(file, result);
        let (batch, adds) = self.stage_kept(&kind, batch, kind.sampled.clone()).await?;
        let files_written = adds.len() as u64;
        if self.replace("expire", batch, adds).await? {
            summary.expired += expired;
            summary.files_written += files_written;
            self.metrics.expired.inc_by(expired);
            self.metrics.files.inc_by(files_written);
        }
        Ok(())
    }

    /// Commits the entries of live files again, with their judgements. When another run has replaced one
    /// of them meanwhile, nothing is recorded and the next run reads them again.
    pub(super) async fn commit_judged(&self, judged: Vec<StagedFile>) -> anyhow::Result<()> {
        if judged.is_empty() {
            return Ok(());
        }
        let change = Change {
            removes: judged.iter().map(|entry| entry.file().clone()).collect(),
            adds: judged,
            only_rearranged: true,
            info: Map::from_iter([
                ("rewrite".to_owned(), json!("judge")),
                ("policy".to_owned(), json!(self.policy)),
            ]),
            ..Change::default()
        };
        self.cold.commit(Table::Events, &change, self.now).await?;
        Ok(())
    }
}
