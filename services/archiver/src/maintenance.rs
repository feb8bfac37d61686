//! Maintenance of the cold tier: expires files past their age, samples files that left warm, merges
//! small files, and vacuums dead objects. Each step commits on its own.
//!
//! Nothing is removed without proof: every row of a file is read and accounted for before the file is
//! replaced, by the rules that are still in force when it is. A damaged file stays as it is.

mod files;
mod merge;
mod starts;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use cold_tier::{ColdFile, ColdTier, Table};
use event::Timestamp;
use event_log::EventLog;
use retention::RuleSet;

use crate::{
    metrics::Metrics,
    plan::{self, FileKind},
    progress::Progress,
    rewrite::RewriteResult,
    summary::Summary,
};

/// Bounds memory: object bytes of one rewrite. In memory the rows are several times as large.
const MAX_REWRITE_BYTES: u64 = 32 << 20;

/// The inputs of the maintenance steps.
pub(crate) struct Maintenance<'a> {
    pub(crate) cold: &'a ColdTier,
    pub(crate) log: &'a EventLog,
    pub(crate) rules: &'a RuleSet,
    /// The hash of `rules`.
    pub(crate) policy: &'a str,
    pub(crate) now: Timestamp,
    pub(crate) metrics: &'a Metrics,
    pub(crate) progress: &'a Progress,
}

/// Files of one kind to rewrite into one, and their rows after the rules.
#[derive(Default)]
struct RewriteBatch {
    files: Vec<ColdFile>,
    result: RewriteResult,
}

impl Maintenance<'_> {
    /// Runs all steps in order; the first error ends them. A damaged file is no such error.
    pub(crate) async fn run(
        &self,
        vacuum_after: Duration,
        summary: &mut Summary,
    ) -> anyhow::Result<()> {
        self.expire(summary).await.context("expire")?;
        self.sample(summary).await.context("sample")?;
        self.merge_small_files(summary)
            .await
            .context("merge small files")?;
        for table in Table::ALL {
            self.progress.set_step(format!("vacuum {}", table.name()));
            let vacuumed = self.cold.vacuum(table, vacuum_after, self.now).await;
            let vacuumed = vacuumed.context("vacuum")?;
            summary.objects_vacuumed += vacuumed.objects;
            summary.bytes_vacuumed += vacuumed.bytes;
        }
        Ok(())
    }

    /// Removes files of which every row is expired by the rules in force.
    async fn expire(&self, summary: &mut Summary) -> anyhow::Result<()> {
        for file in self.due_files(|due| due.expiry).await? {
            self.progress.set_step(format!("expire {}", file.path));
            let Some(result) = self.apply_rules(&file, None, summary).await? else {
                continue;
            };
            if !result.kept.is_empty() {
                continue;
            }
            let expired = result.expired;
            let batch = RewriteBatch {
                files: vec![file],
                result,
            };
            if self.replace("expire", batch, Vec::new()).await? {
                summary.expired += expired;
                self.metrics.expired.inc_by(expired);
            }
        }
        Ok(())
    }

    /// Samples files whose rows have all left warm; the files of one kind become one file.
    async fn sample(&self, summary: &mut Summary) -> anyhow::Result<()> {
        let mut kinds: BTreeMap<FileKind, Vec<ColdFile>> = BTreeMap::new();
        for file in self.due_files(|due| due.sampling).await? {
            let kind = plan::kind(&file).expect("a file that is due has a provenance");
            kinds.entry(kind).or_default().push(file);
        }
        let partitions = kinds.keys().map(|kind| kind.partition).collect();
        let starts = self.conversation_starts(partitions, summary).await;
        let starts = starts.context("read the starts of conversations")?;
        for (kind, files) in kinds {
            let Some(starts) = starts.get(&kind.partition) else {
                continue;
            };
            let mut batch = RewriteBatch::default();
            for file in files {
                let size: u64 = batch.files.iter().map(|file| file.bytes).sum();
                if size + file.bytes > MAX_REWRITE_BYTES {
                    self.write_sampled(&kind, std::mem::take(&mut batch), summary)
                        .await?;
                }
                self.progress.set_step(format!("sample {}", file.path));
                match self.apply_rules(&file, Some(starts), summary).await? {
                    Some(result) if result.still_in_warm == 0 => batch.push(file, result),
                    _ => {}
                }
            }
            self.write_sampled(&kind, batch, summary).await?;
        }
        Ok(())
    }

    /// Replaces the files of `batch` by one file with the kept rows.
    async fn write_sampled(
        &self,
        kind: &FileKind,
        batch: RewriteBatch,
        summary: &mut Summary,
    ) -> anyhow::Result<()> {
        if batch.files.is_empty() {
            return Ok(());
        }
        let RewriteBatch { files, result } = batch;
        let (sampled_out, expired) = (result.sampled_out, result.expired);
        let encode = move || (segment::encode(&result.kept), result);
        let (rows, result) = tokio::task::spawn_blocking(encode).await?;
        let mut adds = Vec::new();
        if rows.num_rows() > 0 {
            let sampled = Some(self.policy.to_owned());
            adds.push(self.stage(kind, &files, rows, sampled).await?);
        }
        let files_written = adds.len() as u64;
        let batch = RewriteBatch { files, result };
        if self.replace("sample", batch, adds).await? {
            summary.sampled_out += sampled_out;
            summary.expired += expired;
            summary.files_written += files_written;
            self.metrics.sampled.inc_by(sampled_out);
            self.metrics.expired.inc_by(expired);
            self.metrics.files.inc_by(files_written);
        }
        Ok(())
    }
}

impl RewriteBatch {
    fn push(&mut self, file: ColdFile, result: RewriteResult) {
        self.files.push(file);
        self.result.kept.extend(result.kept);
        self.result.sampled_out += result.sampled_out;
        self.result.expired += result.expired;
    }
}
