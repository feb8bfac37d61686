//! Maintenance of the cold tier: expires rows past their age, samples files that left warm, merges
//! small files, and vacuums dead objects. Each step commits on its own.
//!
//! Nothing is removed that warm still has, which drops a slice by what cold has of it. Nothing is removed
//! without proof: every row of a file is read and accounted for before the file is
//! replaced, by the rules that are still in force when it is. A damaged file stays as it is.

mod expire;
mod files;
mod merge;
mod sample;
mod starts;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::Context as _;
use cold_tier::{ColdFile, ColdTier, Table};
use event::Timestamp;
use event_log::EventLog;
use retention::RuleSet;
use warm_tier::remote::Client;

use crate::{metrics::Metrics, progress::Progress, rewrite::RewriteResult, summary::Summary};

/// Bytes of an event in memory without its content and metadata, about: names and ids.
const BYTES_PER_EVENT: usize = 512;

/// The inputs of the maintenance steps.
pub(crate) struct Maintenance<'a> {
    pub(crate) cold: &'a ColdTier,
    /// The compactors, which say what has left warm.
    pub(crate) warm: &'a [Client],
    pub(crate) log: &'a EventLog,
    pub(crate) rules: &'a RuleSet,
    /// The hash of `rules`.
    pub(crate) policy: &'a str,
    /// The most bytes of rows that a step collects.
    pub(crate) file_memory: u64,
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
}

impl RewriteBatch {
    fn push(&mut self, file: ColdFile, result: RewriteResult) {
        self.files.push(file);
        self.result.kept.extend(result.kept);
        self.result.sampled_out += result.sampled_out;
        self.result.expired += result.expired;
        self.result.due.merge(result.due);
    }

    /// The bytes that the kept rows take in memory, about.
    fn kept_bytes(&self) -> u64 {
        let events = self.result.kept.iter().map(|stored| &stored.event);
        let bytes =
            events.map(|event| BYTES_PER_EVENT + event.content.len() + event.metadata.len());
        bytes.sum::<usize>() as u64
    }
}
