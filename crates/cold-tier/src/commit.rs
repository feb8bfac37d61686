//! One change of a table: decided from the newest state, put as the next entry, decided anew when
//! somebody else was first.

use std::{collections::HashSet, sync::Arc, time::Duration};

use deltalake_core::{
    kernel::{Action, Transaction, Version, transaction::CommitData},
    protocol::{DeltaOperation, SaveMode},
};
use event::{PartitionId, Seq, SeqRange, Timestamp};
use serde_json::{Map, Value, json};

use crate::{
    error::{Error, Result},
    file::ColdFile,
    log::Log,
    replay::State,
    stage::{StagedFile, sha256},
};

/// Every lost round means that another committer won one.
const ROUNDS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);
/// After an error of the store, of which the outcome is not known.
const ERROR_PAUSE: Duration = Duration::from_millis(500);
const ERRORS: u32 = 10;
const JOINED_BYTES: i64 = 128 * 1024 * 1024;

/// What is to change in one table, all or nothing.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub adds: Vec<StagedFile>,
    pub removes: Vec<ColdFile>,
    /// The range that becomes committed: lands once, and in order.
    pub range: Option<(PartitionId, SeqRange)>,
    /// The rows stay the same, only the files change.
    pub only_rearranged: bool,
    /// For `commitInfo.isotherm`.
    pub info: Map<String, Value>,
}

/// What became of a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Committed now, as this version.
    Committed(Version),
    /// The range was committed before, by this or by another committer.
    AlreadyCommitted,
    /// Not committed: the table has moved on, plan again. For a range, it would leave a gap.
    Conflict,
}

pub(crate) async fn commit(log: &Log, change: &Change, now: Timestamp) -> Result<CommitOutcome> {
    let mut errors = 0;
    for _ in 0..ROUNDS {
        let state = log.refresh().await?.ok_or_else(|| Error::Log {
            table: log.table().name(),
            reason: "it does not exist".to_owned(),
        })?;
        if let Some(outcome) = decided(&state, change) {
            return Ok(outcome);
        }
        let version = state.version + 1;
        let previous = log.entry(state.version).await?;
        let previous = previous.as_deref().map(sha256);
        match log
            .append(version, entry(change, previous, now)?.into())
            .await
        {
            Ok(true) => {
                log.refresh().await?;
                log.checkpoint_if_due(version).await;
                return Ok(CommitOutcome::Committed(version));
            }
            Ok(false) => tokio::time::sleep(PAUSE).await,
            // Not known whether it is there: the next round sees.
            Err(error) if error.is_transient() && errors < ERRORS => {
                errors += 1;
                tracing::warn!(error = &error as &dyn std::error::Error, "commit unknown");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(CommitOutcome::Conflict)
}

/// What can be said without trying.
fn decided(state: &Arc<State>, change: &Change) -> Option<CommitOutcome> {
    if let Some((partition, range)) = change.range {
        let committed = committed(state, partition);
        if committed >= range.hi {
            return Some(CommitOutcome::AlreadyCommitted);
        }
        // The first range of a table may begin anywhere.
        if committed != 0 && committed + 1 != range.lo {
            return Some(CommitOutcome::Conflict);
        }
    }
    let live = |file: &ColdFile| state.files.contains_key(&file.path);
    (!change.removes.iter().all(live)).then_some(CommitOutcome::Conflict)
}

/// The greatest sequence of `partition` that the table has; 0 when none.
pub(crate) fn committed(state: &State, partition: PartitionId) -> Seq {
    let committed = state.transactions.get(&partition.to_string());
    committed.map_or(0, |version| u64::try_from(*version).unwrap_or(0))
}

fn entry(change: &Change, previous: Option<String>, now: Timestamp) -> Result<Vec<u8>> {
    let data_change = !change.only_rearranged;
    let added: HashSet<&str> = change.adds.iter().map(|f| f.file.path.as_str()).collect();
    // A file that is added again gets new tags; to remove it as well would contradict that.
    let removes = change
        .removes
        .iter()
        .filter(|file| !added.contains(file.path.as_str()))
        .map(|file| Action::Remove(file.remove(data_change, now)));
    let adds = change
        .adds
        .iter()
        .map(|file| Action::Add(file.add(data_change, now)));
    let transactions = change.range.map(|(partition, range)| {
        let version = i64::try_from(range.hi).expect("sequences stay below 2^63");
        Transaction::new_with_last_update(partition, version, Some(now.as_micros() / 1000))
    });
    let data = CommitData::new(
        removes.chain(adds).collect(),
        operation(change),
        [("isotherm".to_owned(), info(change, previous))].into(),
        transactions.into_iter().collect(),
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
            target_size: JOINED_BYTES,
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

fn info(change: &Change, previous: Option<String>) -> Value {
    let mut info = change.info.clone();
    if let Some((partition, range)) = change.range {
        info.insert("range".into(), json!(format!("{partition}:{range}")));
    }
    let hashes = change.adds.iter().filter_map(|staged| {
        let provenance = staged.file.provenance.as_ref()?;
        Some(json!({"path": staged.file.path, "sha256": provenance.sha256, "rows": staged.file.rows}))
    });
    info.insert("files".into(), hashes.collect());
    info.insert("previous".into(), json!(previous));
    Value::Object(info)
}
