//! The files of a maintenance step: which are due, their rows, and the commit that replaces them.

use anyhow::ensure;
use arrow::array::RecordBatch;
use cold_tier::{Change, ColdFile, CommitOutcome, Error, Origin, PendingFile, StagedFile, Table};
use event::{TenantId, Timestamp};
use serde_json::{Map, Value, json};

use super::{Maintenance, RewriteBatch};
use crate::{
    plan::{self, DueRewrites, FileKind, WarmView},
    rewrite::{self, ConversationStarts, RewriteResult},
    summary::Summary,
};

/// A live file, and its rows after the rules.
pub(super) struct AppliedRules {
    pub(super) file: ColdFile,
    pub(super) result: RewriteResult,
    /// The file's own log entry.
    entry: StagedFile,
}

impl AppliedRules {
    /// The log entry of the file with the judgement of the rules `policy`.
    pub(super) fn judged(self, policy: &str, now: Timestamp) -> StagedFile {
        let mut judgement = self.result.due.judgement(policy);
        if self.result.expired > 0 {
            judgement.expiry_due = Some(now);
        }
        self.entry.with_judgement(judgement)
    }
}

impl Maintenance<'_> {
    /// The live event files of which a rewrite of interest is due, and whose rows have left warm.
    pub(super) async fn due_files(
        &self,
        is_of_interest: impl Fn(DueRewrites) -> bool,
    ) -> anyhow::Result<Vec<ColdFile>> {
        let snapshot = self.cold.table_snapshot(Table::Events).await?;
        let due = snapshot.files().filter(|file| {
            is_of_interest(plan::due_rewrites(file, self.rules, self.policy, self.now))
        });
        let mut due: Vec<_> = due.cloned().collect();
        if !due.is_empty() {
            // Asked after the snapshot: what its files were made of is in warm, or has left it.
            let warm = self.warm_view().await;
            due.retain(|file| !warm.may_have(file));
        }
        Ok(due)
    }

    /// Asks all compactors what they have. The caller of the run has reported one that does not answer.
    async fn warm_view(&self) -> WarmView {
        let mut view = WarmView {
            partitions: Vec::new(),
            is_whole: true,
        };
        for warm in self.warm {
            match warm.coverage().await {
                Ok(coverage) => view.partitions.extend(coverage.partitions),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "removes nothing that this compactor may have");
                    view.is_whole = false;
                }
            }
        }
        view
    }

    /// Reads `file` and applies the rules to its rows, with `starts` also the sampling. `None` for a
    /// file that must stay as it is, as [`Self::read_live`] says.
    pub(super) async fn apply_rules(
        &self,
        file: &ColdFile,
        starts: Option<&ConversationStarts>,
        summary: &mut Summary,
    ) -> anyhow::Result<Option<AppliedRules>> {
        let Some(batches) = self.read_live(file, None, summary).await? else {
            return Ok(None);
        };
        let live = file.clone();
        let decode = move || {
            let entry = StagedFile::live(&live, &batches)?;
            let mut rows = Vec::new();
            for batch in batches {
                let decoded = segment::decode(&batch).map_err(|source| Error::Rows {
                    path: live.path.clone(),
                    source,
                });
                rows.extend(decoded?);
            }
            cold_tier::Result::Ok((rows, entry))
        };
        match tokio::task::spawn_blocking(decode).await? {
            Ok((rows, entry)) => Ok(Some(AppliedRules {
                file: file.clone(),
                result: rewrite::apply_retention(rows, self.rules, self.now, starts),
                entry,
            })),
            Err(error) => {
                summary.record_damage(file, &error);
                Ok(None)
            }
        }
    }

    /// Reads `columns` of every row of `file`, or all. `None` when another run has replaced the file meanwhile, and when it
    /// is damaged, which is recorded.
    pub(super) async fn read_live(
        &self,
        file: &ColdFile,
        columns: Option<&[&str]>,
        summary: &mut Summary,
    ) -> anyhow::Result<Option<Vec<RecordBatch>>> {
        let read = match columns {
            Some(columns) => self.cold.read_file_columns(file, columns).await,
            None => self.cold.read_file(file).await,
        };
        let error = match read {
            Ok(batches) => return Ok(Some(batches)),
            Err(error) if error.is_damage() => error,
            Err(error) => return Err(error.into()),
        };
        let latest = self.cold.table_snapshot(file.table).await?;
        if latest.is_live(file) {
            summary.record_damage(file, &error);
        }
        Ok(None)
    }

    /// Stages one file with the kept rows of `batch`, with the judgement of the rules. Of rows that were all
    /// sampled out a file without rows is left, which says so; of those that have all expired nothing is.
    pub(super) async fn stage_kept(
        &self,
        kind: &FileKind,
        batch: RewriteBatch,
        sampled: Option<String>,
    ) -> anyhow::Result<(RewriteBatch, Vec<StagedFile>)> {
        let is_empty = batch.result.kept.is_empty();
        if is_empty && batch.result.sampled_out == 0 {
            return Ok((batch, Vec::new()));
        }
        let encode = move || (segment::encode(&batch.result.kept), batch);
        let (rows, batch) = tokio::task::spawn_blocking(encode).await?;
        let staged = self.stage(kind, &batch.files, rows, sampled).await?;
        if is_empty {
            return Ok((batch, vec![staged]));
        }
        let judgement = batch.result.due.judgement(self.policy);
        Ok((batch, vec![staged.with_judgement(judgement)]))
    }

    /// Stages one file with `rows`, which replaces `files` and was made of the same rows.
    pub(super) async fn stage(
        &self,
        kind: &FileKind,
        files: &[ColdFile],
        rows: RecordBatch,
        sampled: Option<String>,
    ) -> anyhow::Result<StagedFile> {
        let provenances = files.iter().filter_map(|file| file.provenance.as_ref());
        let received_max = provenances.map(|p| p.received_max).max();
        let pending = PendingFile {
            table: kind.table,
            tenant: kind.tenant.as_deref().map(TenantId::new).transpose()?,
            dt: kind.dt.clone(),
            rows,
            class: kind.class,
            ranges: plan::merged_ranges(files),
            sampled,
            received_max: received_max.unwrap_or_default(),
        };
        let staged = self.cold.stage(pending).await?;
        Ok(staged.with_origin(Origin::total(files.iter().map(ColdFile::origin))))
    }

    /// Commits `adds` in the place of the files of `batch`; returns `false` when another run was first.
    ///
    /// # Errors
    /// When the rules are no longer those that the rows were judged by.
    pub(super) async fn replace(
        &self,
        rewrite: &str,
        batch: RewriteBatch,
        adds: Vec<StagedFile>,
    ) -> anyhow::Result<bool> {
        let change = Change {
            adds,
            removes: batch.files,
            rows_dropped: batch.result.sampled_out + batch.result.expired,
            info: self.commit_info(rewrite, &batch.result),
            ..Change::default()
        };
        let in_force = self.log.policy().await?.hash();
        ensure!(
            in_force == self.policy,
            "rules changed during the run; the next run applies them"
        );
        let outcome = self.cold.commit(Table::Events, &change, self.now).await?;
        Ok(matches!(outcome, CommitOutcome::Committed(_)))
    }

    fn commit_info(&self, rewrite: &str, result: &RewriteResult) -> Map<String, Value> {
        let kept = result.kept.len() as u64;
        let dropped = result.sampled_out + result.expired;
        Map::from_iter([
            ("rewrite".to_owned(), json!(rewrite)),
            ("policy".to_owned(), json!(self.policy)),
            ("rows_in".to_owned(), json!(kept + dropped)),
            ("rows_kept".to_owned(), json!(kept)),
            ("rows_dropped".to_owned(), json!(dropped)),
            ("sampled_out".to_owned(), json!(result.sampled_out)),
            ("expired".to_owned(), json!(result.expired)),
        ])
    }
}
