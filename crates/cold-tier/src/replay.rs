//! Replays log entries into the state of a table. Pure.

use std::collections::{BTreeMap, HashMap};

use deltalake_core::kernel::{Add, Transaction, Version};
use serde::Deserialize;

use crate::{file::ColdFile, table::Table};

/// The state of one table at one version.
#[derive(Clone, Debug)]
pub(crate) struct TableState {
    pub(crate) table: Table,
    pub(crate) version: Version,
    /// Live files, ordered by path.
    pub(crate) files: BTreeMap<String, ColdFile>,
    /// The version of the last `txn` per application.
    pub(crate) transactions: HashMap<String, i64>,
    /// The id of the store that the table belongs to; `None` in a table of an older version.
    pub(crate) store: Option<String>,
    /// Removed files with the time of removal in ms since 1970. A checkpoint leaves out old ones.
    pub(crate) removed: HashMap<String, i64>,
}

/// One action of an entry or a checkpoint; kinds that do not change the state are all `None`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LogAction {
    pub(crate) add: Option<Add>,
    pub(crate) remove: Option<RemovedFile>,
    pub(crate) txn: Option<Transaction>,
    pub(crate) protocol: Option<Protocol>,
    #[serde(rename = "metaData")]
    pub(crate) metadata: Option<TableMetadata>,
}

/// The part of a `metaData` action that the state needs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TableMetadata {
    pub(crate) configuration: HashMap<String, Option<String>>,
}

/// The key of the configuration of a table with the id of the store that it belongs to.
pub(crate) const STORE_KEY: &str = "isotherm.store";

/// The reader version that a `protocol` action demands.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Protocol {
    pub(crate) min_reader_version: i32,
}

/// The version of our tables. A newer one means that another engine switched on features (deletion
/// vectors, column mapping) under which the files mean something else.
const SUPPORTED_READER_VERSION: i32 = 1;

/// The part of a `remove` action that the state needs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RemovedFile {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) deletion_timestamp: Option<i64>,
}

/// An error for a log that this reader cannot replay.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error("entry {version} is no list of actions: {reason}")]
    MalformedEntry { version: Version, reason: String },
    #[error("entry {found} follows {version}")]
    MissingEntry { version: Version, found: Version },
    #[error("it demands reader version {0}, this is version {SUPPORTED_READER_VERSION}")]
    UnsupportedProtocol(i32),
}

impl TableState {
    /// Returns an empty state at `version`, to which the actions of a checkpoint are applied.
    pub(crate) fn empty(table: Table, version: Version) -> Self {
        Self {
            table,
            version,
            files: BTreeMap::new(),
            transactions: HashMap::new(),
            store: None,
            removed: HashMap::new(),
        }
    }

    /// Applies the next entry, the JSON lines of `version`.
    pub(crate) fn apply_entry(
        &mut self,
        version: Version,
        lines: &[u8],
    ) -> Result<(), ReplayError> {
        if version != self.version + 1 {
            let found = version;
            let version = self.version;
            return Err(ReplayError::MissingEntry { version, found });
        }
        self.apply_lines(version, lines)
    }

    /// Returns the state after the first entry of a table.
    pub(crate) fn from_first_entry(table: Table, lines: &[u8]) -> Result<Self, ReplayError> {
        let mut state = Self::empty(table, 0);
        state.apply_lines(0, lines)?;
        Ok(state)
    }

    fn apply_lines(&mut self, version: Version, lines: &[u8]) -> Result<(), ReplayError> {
        let actions = serde_json::Deserializer::from_slice(lines).into_iter::<LogAction>();
        for action in actions {
            let action = action.map_err(|error| ReplayError::MalformedEntry {
                version,
                reason: error.to_string(),
            })?;
            self.apply(action)?;
        }
        self.version = version;
        Ok(())
    }

    /// Applies one action, whatever the version.
    pub(crate) fn apply(&mut self, action: LogAction) -> Result<(), ReplayError> {
        if let Some(protocol) = action.protocol
            && protocol.min_reader_version > SUPPORTED_READER_VERSION
        {
            return Err(ReplayError::UnsupportedProtocol(
                protocol.min_reader_version,
            ));
        }
        if let Some(mut metadata) = action.metadata {
            self.store = metadata.configuration.remove(STORE_KEY).flatten();
        }
        if let Some(add) = action.add {
            self.removed.remove(&add.path);
            let file = ColdFile::from_add(self.table, add);
            self.files.insert(file.path.clone(), file);
        }
        if let Some(removed) = action.remove {
            let path = url_decoded(&removed.path);
            self.files.remove(&path);
            self.removed
                .insert(path, removed.deletion_timestamp.unwrap_or(0));
        }
        if let Some(txn) = action.txn {
            self.transactions.insert(txn.app_id, txn.version);
        }
        Ok(())
    }
}

/// Decodes a path of the log, where paths are URL-encoded. A `%` that is no escape stays.
pub(crate) fn url_decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
