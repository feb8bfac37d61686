//! Commits one change of a table: decides from the latest state, puts the next log entry, and
//! decides again when another committer put that entry first.

use std::{collections::HashSet, sync::Arc, time::Duration};

use deltalake_core::{
    kernel::{Action, Transaction, Version, transaction::CommitData},
    protocol::{DeltaOperation, SaveMode},
};
use event::{PartitionId, RangeSet, Seq, SeqRange, Timestamp};
use serde_json::{Map, Value, json};

use crate::{
    error::{Error, Result},
    file::ColdFile,
    hash::sha256,
    log::DeltaLog,
    replay::TableState,
    stage::StagedFile,
};

/// Bounds a commit that always loses; every lost attempt means that another commit succeeded.
const MAX_COMMIT_ATTEMPTS: u32 = 100;
/// After another committer put the entry first. Short: it is not waiting for anything.
const CONFLICT_RETRY_PAUSE: Duration = Duration::from_millis(20);
/// After an error of the store that leaves the outcome unknown.
const ERROR_RETRY_PAUSE: Duration = Duration::from_millis(500);
/// With the pause, bridges 5 s; a longer outage is the caller's to retry.
const MAX_TRANSIENT_ERRORS: u32 = 10;
/// Written into `commitInfo` of an `OPTIMIZE`: the largest file that the archiver merges into.
const OPTIMIZE_TARGET_BYTES: i64 = 128 * 1024 * 1024;

/// One atomic change of one table.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Files that become live.
    pub adds: Vec<StagedFile>,
    /// Live files that are replaced or expire; when one is not live any more, the change conflicts.
    pub removes: Vec<ColdFile>,
    /// The range that becomes committed. A partition's ranges are committed once, in ascending
    /// order, without gaps.
    pub range: Option<(PartitionId, SeqRange)>,
    /// Ranges of that partition whose rows no tier has: [`TableSnapshot::lost`] names them from here on.
    ///
    /// [`TableSnapshot::lost`]: crate::TableSnapshot::lost
    pub lost: Vec<SeqRange>,
    /// Rows of `removes` that are in none of `adds`, because the rules say so. Every row of a removed
    /// file is either added or dropped.
    pub rows_dropped: u64,
    /// The rows stay the same, only the files change (Delta's `dataChange: false`).
    pub only_rearranged: bool,
    /// Additional members of `commitInfo.isotherm`.
    pub info: Map<String, Value>,
}

/// The result of committing a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Committed now, as this version.
    Committed(Version),
    /// The range was committed before, by this or by another committer.
    AlreadyCommitted,
    /// Not committed, because the table has changed: a file to remove is not live any more, or the
    /// range does not follow the committed one. Plan again.
    Conflict,
}

/// Commits `change` as the next entry of `log`. `now` is only written into the entry.
pub(crate) async fn commit(
    log: &DeltaLog,
    change: &Change,
    now: Timestamp,
) -> Result<CommitOutcome> {
    let mut errors = 0;
    for _ in 0..MAX_COMMIT_ATTEMPTS {
        let state = log.refresh().await?.ok_or_else(|| Error::Log {
            table: log.table().name(),
            reason: "it does not exist".to_owned(),
        })?;
        if let Some(outcome) = outcome_by_state(&state, change) {
            return Ok(outcome);
        }
        check_balance(&state, change)?;
        let version = state.version + 1;
        let previous = log.entry(state.version).await?;
        let previous = previous.as_deref().map(sha256);
        let entry = log_entry(change, previous, now)?;
        match log.append(version, entry.into()).await {
            Ok(true) => {
                log.refresh().await?;
                log.checkpoint_if_due(version).await;
                return Ok(CommitOutcome::Committed(version));
            }
            Ok(false) => tokio::time::sleep(CONFLICT_RETRY_PAUSE).await,
            // The entry may have been written: the next attempt reads the log again.
            Err(error) if error.is_transient() && errors < MAX_TRANSIENT_ERRORS => {
                errors += 1;
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "commit outcome unknown, retrying"
                );
                tokio::time::sleep(ERROR_RETRY_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(CommitOutcome::Conflict)
}

/// The outcome that follows from `state` alone; `None` when the commit has to be tried.
fn outcome_by_state(state: &Arc<TableState>, change: &Change) -> Option<CommitOutcome> {
    if let Some((partition, range)) = change.range {
        let committed = committed_seq(state, partition);
        if committed >= range.hi {
            return Some(CommitOutcome::AlreadyCommitted);
        }
        // The first range of a table may begin anywhere.
        if committed != 0 && committed + 1 != range.lo {
            return Some(CommitOutcome::Conflict);
        }
    }
    let is_live = |file: &ColdFile| state.files.contains_key(&file.path);
    (!change.removes.iter().all(is_live)).then_some(CommitOutcome::Conflict)
}

/// Checks that every row of the removed files, as their log entries count them, is added or dropped.
fn check_balance(state: &TableState, change: &Change) -> Result<()> {
    let rows = |file: &ColdFile| state.files.get(&file.path).map_or(0, |live| live.rows);
    let removed: u64 = change.removes.iter().map(rows).sum();
    let added: u64 = change.adds.iter().map(|staged| staged.file.rows).sum();
    let dropped = change.rows_dropped;
    if change.removes.is_empty() || removed == added + dropped {
        return Ok(());
    }
    Err(Error::Unbalanced {
        removed,
        added,
        dropped,
    })
}

/// Returns the greatest committed sequence of `partition`; 0 when none.
pub(crate) fn committed_seq(state: &TableState, partition: PartitionId) -> Seq {
    let committed = state.transactions.get(&partition.to_string());
    committed.map_or(0, |version| u64::try_from(*version).unwrap_or(0))
}

/// The application of the transaction that records a lost range, whose end is the version: `g1p07e1:lost:3`.
/// Transactions stay in checkpoints, unlike `commitInfo`.
fn lost_id(partition: PartitionId, lo: Seq) -> String {
    format!("{partition}:lost:{lo}")
}

/// Returns the ranges of `partition` whose rows were lost before they were archived.
pub(crate) fn lost_ranges(state: &TableState, partition: PartitionId) -> RangeSet {
    let prefix = format!("{partition}:lost:");
    let transactions = state.transactions.iter();
    transactions
        .filter_map(|(app, version)| {
            let lo = app.strip_prefix(&prefix)?.parse().ok()?;
            SeqRange::new(lo, u64::try_from(*version).ok()?)
        })
        .collect()
}

/// The JSON lines of the log entry. `previous` is the SHA-256 of the entry before.
fn log_entry(change: &Change, previous: Option<String>, now: Timestamp) -> Result<Vec<u8>> {
    let data_change = !change.only_rearranged;
    let added: HashSet<&str> = change.adds.iter().map(|f| f.file.path.as_str()).collect();
    // A file that is removed and added again only gets new tags. Both actions on one path in one
    // entry would contradict each other, so its remove is left out.
    let removes = change
        .removes
        .iter()
        .filter(|file| !added.contains(file.path.as_str()))
        .map(|file| Action::Remove(file.remove(data_change, now)));
    let adds = change
        .adds
        .iter()
        .map(|file| Action::Add(file.add(data_change, now)));
    let transaction = |id: String, range: SeqRange| {
        let version = i64::try_from(range.hi).expect("sequences stay below 2^63");
        Transaction::new_with_last_update(id, version, Some(now.as_micros() / 1000))
    };
    let transactions = change.range.iter().flat_map(|(partition, range)| {
        let lost = change.lost.iter();
        let lost = lost.map(|lost| transaction(lost_id(*partition, lost.lo), *lost));
        lost.chain([transaction(partition.to_string(), *range)])
    });
    let data = CommitData::new(
        removes.chain(adds).collect(),
        operation(change),
        [("isotherm".to_owned(), commit_info(change, previous))].into(),
        transactions.collect(),
    );
    let bytes = data
        .get_bytes()
        .map_err(|error| Error::Delta(error.into()))?;
    Ok(bytes.into())
}

fn operation(change: &Change) -> DeltaOperation {
    if change.only_rearranged {
        return DeltaOperation::Optimize {
            predicate: None,
            target_size: OPTIMIZE_TARGET_BYTES,
        };
    }
    if change.removes.is_empty() {
        return DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: None,
            predicate: None,
        };
    }
    DeltaOperation::Delete { predicate: None }
}

fn commit_info(change: &Change, previous: Option<String>) -> Value {
    let mut info = change.info.clone();
    if let Some((partition, range)) = change.range {
        info.insert("range".into(), json!(format!("{partition}:{range}")));
    }
    if !change.lost.is_empty() {
        let lost = change.lost.iter().map(SeqRange::to_string);
        info.insert("lost".into(), lost.collect());
    }
    let hashes = change.adds.iter().filter_map(|staged| {
        let provenance = staged.file.provenance.as_ref()?;
        Some(json!({"path": staged.file.path, "sha256": provenance.sha256, "rows": staged.file.rows}))
    });
    info.insert("files".into(), hashes.collect());
    info.insert("previous".into(), json!(previous));
    Value::Object(info)
}
