//! The cold tier kept in order: what is past its age goes, what left warm is sampled, small files
//! become large ones, dead objects are deleted. Each step commits by itself.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use arrow::{
    array::{AsArray as _, RecordBatch},
    compute::concat_batches,
    datatypes::{Int32Type, Int64Type, TimestampMicrosecondType},
};
use cold_tier::{
    Change, ColdFile, ColdScan, ColdTier, CommitOutcome, PendingFile, StagedFile, Table,
};
use event::{PartitionId, Position, StoredEvent, TenantId, Timestamp};
use retention::RuleSet;
use serde_json::{Map, Value, json};

use crate::{
    metrics::Metrics,
    plan::{self, Kind},
    progress::Progress,
    rewrite::{self, ConversationStarts, RewriteResult},
    summary::Summary,
};

/// Bytes of objects that one rewrite takes at once; in memory they are several times as large.
const REWRITE_BYTES: u64 = 32 << 20;

pub(crate) struct Maintenance<'a> {
    pub(crate) cold: &'a ColdTier,
    pub(crate) rules: &'a RuleSet,
    pub(crate) policy: &'a str,
    pub(crate) now: Timestamp,
    pub(crate) metrics: &'a Metrics,
    pub(crate) progress: &'a Progress,
}

/// Files of one kind, and what of their rows stays.
#[derive(Default)]
struct Batch {
    files: Vec<ColdFile>,
    result: RewriteResult,
}

impl Maintenance<'_> {
    pub(crate) async fn run(
        &self,
        vacuum_after: Duration,
        summary: &mut Summary,
    ) -> anyhow::Result<()> {
        self.expire(summary).await.context("expire")?;
        self.sample(summary).await.context("sample")?;
        self.join(summary).await.context("join small files")?;
        for table in Table::ALL {
            self.progress.says(format!("vacuum {}", table.name()));
            let vacuumed = self.cold.vacuum(table, vacuum_after, self.now).await;
            let vacuumed = vacuumed.context("vacuum")?;
            summary.objects_vacuumed += vacuumed.objects;
            summary.bytes_vacuumed += vacuumed.bytes;
        }
        Ok(())
    }

    /// Removes files of which every row is past its age by the rules in force.
    async fn expire(&self, summary: &mut Summary) -> anyhow::Result<()> {
        for file in self.due(|due| due.expiry).await? {
            self.progress.says(format!("expire {}", file.path));
            let result = self.apply_rules(&file, None).await?;
            if result.expired < file.rows || !result.kept.is_empty() {
                continue;
            }
            let info = self.info("expire", &result);
            if self.replace(vec![file], Vec::new(), info).await? {
                summary.expired += result.expired;
                self.metrics.expired.inc_by(result.expired);
            }
        }
        Ok(())
    }

    /// Thins files that warm needs no more, a day's files of one kind into one.
    async fn sample(&self, summary: &mut Summary) -> anyhow::Result<()> {
        let due = self.due(|due| due.sampling).await?;
        if due.is_empty() {
            return Ok(());
        }
        let starts = self
            .starts()
            .await
            .context("read where conversations began")?;
        let mut kinds: BTreeMap<Kind, Vec<ColdFile>> = BTreeMap::new();
        for file in due {
            let kind = plan::kind(&file).expect("a file that is due has a provenance");
            kinds.entry(kind).or_default().push(file);
        }
        for (kind, files) in kinds {
            let mut batch = Batch::default();
            for file in files {
                let size: u64 = batch.files.iter().map(|file| file.bytes).sum();
                if size + file.bytes > REWRITE_BYTES {
                    self.thin(&kind, std::mem::take(&mut batch), summary)
                        .await?;
                }
                self.progress.says(format!("sample {}", file.path));
                let result = self.apply_rules(&file, Some(&starts)).await?;
                if result.still_in_warm == 0 {
                    batch.take(file, result);
                }
            }
            self.thin(&kind, batch, summary).await?;
        }
        Ok(())
    }

    async fn thin(&self, kind: &Kind, batch: Batch, summary: &mut Summary) -> anyhow::Result<()> {
        if batch.files.is_empty() {
            return Ok(());
        }
        let Batch { files, result } = batch;
        let info = self.info("sample", &result);
        let (sampled_out, expired) = (result.sampled_out, result.expired);
        let rows = tokio::task::spawn_blocking(move || segment::encode(&result.kept)).await?;
        let mut adds = Vec::new();
        if rows.num_rows() > 0 {
            let sampled = Some(self.policy.to_owned());
            adds.push(self.stage(kind, &files, rows, sampled).await?);
        }
        let written = adds.len() as u64;
        if self.replace(files, adds, info).await? {
            summary.sampled_out += sampled_out;
            summary.expired += expired;
            summary.files_written += written;
            self.metrics.sampled.inc_by(sampled_out);
            self.metrics.expired.inc_by(expired);
            self.metrics.files.inc_by(written);
        }
        Ok(())
    }

    /// Many small files of one kind into one with the same rows.
    async fn join(&self, summary: &mut Summary) -> anyhow::Result<()> {
        for table in Table::ALL {
            let snapshot = self.cold.table_snapshot(table).await?;
            for files in plan::joins(snapshot.files()) {
                let count = files.len() as u64;
                self.progress.says(format!("join {count} files"));
                let mut batches = Vec::new();
                for file in &files {
                    batches.extend(self.cold.read_file(file).await?);
                }
                let rows = concat_batches(&table.schema(), &batches)?;
                let kind = plan::kind(&files[0]).expect("a file to join has a provenance");
                let staged = self
                    .stage(&kind, &files, rows, kind.sampled.clone())
                    .await?;
                let change = Change {
                    adds: vec![staged],
                    removes: files,
                    only_rearranged: true,
                    info: Map::from_iter([("rewrite".to_owned(), json!("join"))]),
                    ..Change::default()
                };
                let outcome = self.cold.commit(table, &change, self.now).await?;
                if matches!(outcome, CommitOutcome::Committed(_)) {
                    summary.files_joined += count;
                    summary.files_written += 1;
                    self.metrics.files.inc();
                }
            }
        }
        Ok(())
    }

    async fn due(&self, wanted: impl Fn(plan::Due) -> bool) -> anyhow::Result<Vec<ColdFile>> {
        let snapshot = self.cold.table_snapshot(Table::Events).await?;
        let due = snapshot
            .files()
            .filter(|file| wanted(plan::due(file, self.rules, self.now)));
        Ok(due.cloned().collect())
    }

    async fn apply_rules(
        &self,
        file: &ColdFile,
        starts: Option<&ConversationStarts>,
    ) -> anyhow::Result<RewriteResult> {
        let batches = match self.cold.read_file(file).await {
            // Another run was faster.
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

    /// One file with `rows` in the place of `files`.
    async fn stage(
        &self,
        kind: &Kind,
        files: &[ColdFile],
        rows: RecordBatch,
        sampled: Option<String>,
    ) -> anyhow::Result<StagedFile> {
        let received = files.iter().filter_map(|file| file.provenance.as_ref());
        let received_max = received.map(|own| own.received_max).max();
        let pending = PendingFile {
            table: kind.table,
            tenant: kind.tenant.as_deref().map(TenantId::new).transpose()?,
            dt: kind.dt.clone(),
            rows,
            class: kind.class,
            ranges: plan::joined_ranges(files),
            sampled,
            received_max: received_max.unwrap_or_default(),
        };
        Ok(self.cold.stage(pending).await?)
    }

    /// Whether this run made the change; another run may have been faster.
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

    fn info(&self, rewrite: &str, result: &RewriteResult) -> Map<String, Value> {
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

    /// Summaries are never removed: the first event of every conversation is known for ever.
    async fn starts(&self) -> anyhow::Result<ConversationStarts> {
        let snapshot = self.cold.table_snapshot(Table::ConversationSummary).await?;
        let batches = self.cold.read(&snapshot, &ColdScan::default()).await?;
        let mut starts = ConversationStarts::default();
        for batch in &batches {
            note_starts(batch, &mut starts);
        }
        Ok(starts)
    }
}

impl Batch {
    fn take(&mut self, file: ColdFile, result: RewriteResult) {
        self.files.push(file);
        self.result.kept.extend(result.kept);
        self.result.sampled_out += result.sampled_out;
        self.result.expired += result.expired;
    }
}

fn note_starts(batch: &RecordBatch, starts: &mut ConversationStarts) {
    let text = |name: &str, row: usize| batch[name].as_string::<i32>().value(row).to_owned();
    let long = |name: &str, row: usize| batch[name].as_primitive::<Int64Type>().value(row);
    let small = |name: &str, row: usize| {
        u16::try_from(batch[name].as_primitive::<Int32Type>().value(row)).unwrap_or(0)
    };
    for row in 0..batch.num_rows() {
        let partition = PartitionId {
            generation: small("generation", row),
            partition: small("partition", row),
            epoch: small("epoch", row),
        };
        let seq = u64::try_from(long("start_seq", row)).unwrap_or(0);
        let at = Position::new(partition, seq, small("start_idx", row));
        let time = batch["start_timestamp"].as_primitive::<TimestampMicrosecondType>();
        let time = Timestamp::from_micros(time.value(row));
        let conversation = (text("tenant", row), text("conversation_id", row));
        starts.note(conversation, at, time);
    }
}
