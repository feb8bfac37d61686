//! Samples files whose rows have all left warm.

use std::collections::{BTreeMap, VecDeque};

use anyhow::Context as _;
use cold_tier::ColdFile;
use event::PartitionId;

use super::{Maintenance, RewriteBatch};
use crate::{
    plan::{self, FileKind},
    rewrite::ConversationStarts,
    summary::Summary,
};

/// Object bytes of one rewrite: the work that is lost when another run commits first.
const MAX_REWRITE_BYTES: u64 = 32 << 20;

impl Maintenance<'_> {
    /// Samples files whose rows have all left warm; the files of one kind become one file.
    pub(super) async fn sample(&self, summary: &mut Summary) -> anyhow::Result<()> {
        let mut partitions: BTreeMap<PartitionId, Vec<(FileKind, ColdFile)>> = BTreeMap::new();
        for file in self.due_files(|due| due.sampling).await? {
            let kind = plan::kind(&file).expect("a file that is due has a provenance");
            let files = partitions.entry(kind.partition).or_default();
            files.push((kind, file));
        }
        for (partition, mut files) in partitions {
            // Files of one kind come together, to be in one round.
            files.sort_by(|(one, _), (other, _)| one.cmp(other));
            let mut files: VecDeque<_> = files.into_iter().map(|(_, file)| file).collect();
            while !files.is_empty() {
                let (round, wanted) = self.next_round(&mut files, summary).await?;
                let starts = self.find_starts(partition, wanted, summary).await;
                let starts = starts.context("read the starts of conversations")?;
                let Some(starts) = starts else {
                    break;
                };
                self.sample_round(round, &starts, summary).await?;
            }
        }
        Ok(())
    }

    async fn sample_round(
        &self,
        files: Vec<ColdFile>,
        starts: &ConversationStarts,
        summary: &mut Summary,
    ) -> anyhow::Result<()> {
        let mut kinds: BTreeMap<FileKind, Vec<ColdFile>> = BTreeMap::new();
        for file in files {
            let kind = plan::kind(&file).expect("a file that is due has a provenance");
            kinds.entry(kind).or_default().push(file);
        }
        let mut judged = Vec::new();
        for (kind, files) in kinds {
            let mut batch = RewriteBatch::default();
            for file in files {
                let size: u64 = batch.files.iter().map(|file| file.bytes).sum();
                if size + file.bytes > MAX_REWRITE_BYTES || batch.kept_bytes() > self.file_memory {
                    let full = std::mem::take(&mut batch);
                    self.write_sampled(&kind, full, summary).await?;
                }
                self.progress.set_step(format!("sample {}", file.path));
                match self.apply_rules(&file, Some(starts), summary).await? {
                    Some(applied) if applied.result.still_in_warm == 0 => {
                        batch.push(file, applied.result);
                    }
                    Some(applied) => judged.push(applied.judged(self.policy, self.now)),
                    None => {}
                }
            }
            self.write_sampled(&kind, batch, summary).await?;
        }
        self.commit_judged(judged).await
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
        let (sampled_out, expired) = (batch.result.sampled_out, batch.result.expired);
        let sampled = Some(self.policy.to_owned());
        let (batch, adds) = self.stage_kept(kind, batch, sampled).await?;
        let files_written = adds.len() as u64;
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
