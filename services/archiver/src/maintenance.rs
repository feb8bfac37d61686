//! Maintenance of the cold tier: expires files past their age, samples files that left warm, merges
//! small files, and vacuums dead objects. Each step commits on its own.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use arrow::{array::RecordBatch, compute::concat_batches};
use cold_tier::{
    Change, ColdFile, ColdScan, ColdTier, CommitOutcome, PendingFile, StagedFile, Table,
};
use event::{StoredEvent, TenantId, Timestamp};
use retention::RuleSet;
use serde_json::{Map, Value, json};

use crate::{
    metrics::Metrics,
    plan::{self, DueRewrites, FileKind},
    progress::Progress,
    rewrite::{self, ConversationStarts, RewriteResult},
    summary::Summary,
};

/// Bounds memory: object bytes of one rewrite. In memory the rows are several times as large.
const MAX_REWRITE_BYTES: u64 = 32 << 20;

/// The inputs of the maintenance steps.
pub(crate) struct Maintenance<'a> {
    pub(crate) cold: &'a ColdTier,
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
    /// Runs all steps in order; the first error ends them.
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
            let result = self.apply_rules(&file, None).await?;
            if result.expired < file.rows || !result.kept.is_empty() {
                continue;
            }
            let info = self.commit_info("expire", &result);
            if self.replace(vec![file], Vec::new(), info).await? {
                summary.expired += result.expired;
                self.metrics.expired.inc_by(result.expired);
            }
        }
        Ok(())
    }

    /// Samples files whose rows have all left warm; the files of one kind become one file.
    async fn sample(&self, summary: &mut Summary) -> anyhow::Result<()> {
        let due = self.due_files(|due| due.sampling).await?;
        if due.is_empty() {
            return Ok(());
        }
        let starts = self
            .conversation_starts()
            .await
            .context("read the starts of conversations")?;
        let mut kinds: BTreeMap<FileKind, Vec<ColdFile>> = BTreeMap::new();
        for file in due {
            let kind = plan::kind(&file).expect("a file that is due has a provenance");
            kinds.entry(kind).or_default().push(file);
        }
        for (kind, files) in kinds {
            let mut batch = RewriteBatch::default();
            for file in files {
                let size: u64 = batch.files.iter().map(|file| file.bytes).sum();
                if size + file.bytes > MAX_REWRITE_BYTES {
                    self.write_sampled(&kind, std::mem::take(&mut batch), summary)
                        .await?;
                }
                self.progress.set_step(format!("sample {}", file.path));
                let result = self.apply_rules(&file, Some(&starts)).await?;
                if result.still_in_warm == 0 {
                    batch.push(file, result);
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
        let info = self.commit_info("sample", &result);
        let (sampled_out, expired) = (result.sampled_out, result.expired);
        let rows = tokio::task::spawn_blocking(move || segment::encode(&result.kept)).await?;
        let mut adds = Vec::new();
        if rows.num_rows() > 0 {
            let sampled = Some(self.policy.to_owned());
            adds.push(self.stage(kind, &files, rows, sampled).await?);
        }
        let files_written = adds.len() as u64;
        if self.replace(files, adds, info).await? {
            summary.sampled_out += sampled_out;
            summary.expired += expired;
            summary.files_written += files_written;
            self.metrics.sampled.inc_by(sampled_out);
            self.metrics.expired.inc_by(expired);
            self.metrics.files.inc_by(files_written);
        }
        Ok(())
    }

    /// Merges many small files of one kind into one file with the same rows.
    async fn merge_small_files(&self, summary: &mut Summary) -> anyhow::Result<()> {
        for table in Table::ALL {
            let snapshot = self.cold.table_snapshot(table).await?;
            for files in plan::merges(snapshot.files()) {
                let count = files.len() as u64;
                self.progress.set_step(format!("merge {count} files"));
                let mut batches = Vec::new();
                for file in &files {
                    batches.extend(self.cold.read_file(file).await?);
                }
                let rows = concat_batches(&table.schema(), &batches)?;
                let kind = plan::kind(&files[0]).expect("a file to merge has a provenance");
                let staged = self
                    .stage(&kind, &files, rows, kind.sampled.clone())
                    .await?;
                let change = Change {
                    adds: vec![staged],
                    removes: files,
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
            }
        }
        Ok(())
    }

    /// The live event files of which a rewrite of interest is due.
    async fn due_files(
        &self,
        is_of_interest: impl Fn(DueRewrites) -> bool,
    ) -> anyhow::Result<Vec<ColdFile>> {
        let snapshot = self.cold.table_snapshot(Table::Events).await?;
        let due = snapshot
            .files()
            .filter(|file| is_of_interest(plan::due_rewrites(file, self.rules, self.now)));
        Ok(due.cloned().collect())
    }

    /// Reads `file` and applies the rules to its rows, with `starts` also the sampling. A file that
    /// does not exist any more has no rows.
    async fn apply_rules(
        &self,
        file: &ColdFile,
        starts: Option<&ConversationStarts>,
    ) -> anyhow::Result<RewriteResult> {
        let batches = match self.cold.read_file(file).await {
            // Another run has rewritten it.
            Err(cold_tier::Error::Gone { .. }) => return Ok(RewriteResult::default()),
            read => read?,
        };
        let decode = move || {
            let events = batches.iter().map(segment::decode);
            events.collect::<segment::Result<Vec<Vec<StoredEvent>>>>()
        };
        let rows = tokio::task::spawn_blocking(decode).await??.concat();
        Ok(rewrite::apply_retention(rows, self.rules, self.now, starts))
    }

    /// Stages one file with `rows`, which replaces `files`.
    async fn stage(
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
        Ok(self.cold.stage(pending).await?)
    }

    /// Commits `adds` in the place of `removes`; returns `false` when another run was first.
    async fn replace(
        &self,
        removes: Vec<ColdFile>,
        adds: Vec<StagedFile>,
        info: Map<String, Value>,
    ) -> anyhow::Result<bool> {
        let change = Change {
            adds,
            removes,
            info,
            ..Change::default()
        };
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

    /// Reads the start of every conversation from the summaries, which never expire.
    async fn conversation_starts(&self) -> anyhow::Result<ConversationStarts> {
        let snapshot = self.cold.table_snapshot(Table::ConversationSummary).await?;
        let batches = self.cold.read(&snapshot, &ColdScan::default()).await?;
        let mut starts = ConversationStarts::default();
        for batch in &batches {
            starts.record_batch(batch);
        }
        Ok(starts)
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
