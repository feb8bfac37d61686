//! A table's state from its log entries. Pure: entries in, state out.

use std::collections::{BTreeMap, HashMap};

use deltalake_core::kernel::{Add, Transaction, Version};
use serde::Deserialize;

use crate::{file::ColdFile, table::Table};

/// What one table holds at one version.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) table: Table,
    pub(crate) version: Version,
    /// Live files by their path, so that every reader sees them in one order.
    pub(crate) files: BTreeMap<String, ColdFile>,
    /// `txn` per application.
    pub(crate) transactions: HashMap<String, i64>,
    /// Removed files and when that was, ms since 1970. A checkpoint forgets old ones.
    pub(crate) removed: HashMap<String, i64>,
}

/// One action of an entry or a checkpoint; the kinds that say nothing here stay empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Action {
    pub(crate) add: Option<Add>,
    pub(crate) remove: Option<Removed>,
    pub(crate) txn: Option<Transaction>,
    pub(crate) protocol: Option<Protocol>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Protocol {
    pub(crate) min_reader_version: i32,
}

/// Tables are made with this one. A newer one means that another engine switched on features
/// (deletion vectors, column mapping) which would change what the files say.
const READER_VERSION: i32 = 1;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Removed {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) deletion_timestamp: Option<i64>,
}

/// What a log may hold and this reader cannot follow.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("entry {version} is no list of actions: {reason}")]
    Entry { version: Version, reason: String },
    #[error("entry {found} follows {version}")]
    Gap { version: Version, found: Version },
    #[error("it demands reader version {0}, this is version {READER_VERSION}")]
    Protocol(i32),
}

impl State {
    /// A table of which no entry has been read.
    pub(crate) fn at_checkpoint(table: Table, version: Version) -> Self {
        Self {
            table,
            version,
            files: BTreeMap::new(),
            transactions: HashMap::new(),
            removed: HashMap::new(),
        }
    }

    /// Applies the next entry, the JSON lines of `version`.
    pub(crate) fn apply_entry(&mut self, version: Version, lines: &[u8]) -> Result<(), Unreadable> {
        if version != self.version + 1 {
            let found = version;
            let version = self.version;
            return Err(Unreadable::Gap { version, found });
        }
        self.apply_lines(version, lines)
    }

    /// Applies the first entry of a table.
    pub(crate) fn first_entry(table: Table, lines: &[u8]) -> Result<Self, Unreadable> {
        let mut state = Self::at_checkpoint(table, 0);
        state.apply_lines(0, lines)?;
        Ok(state)
    }

    fn apply_lines(&mut self, version: Version, lines: &[u8]) -> Result<(), Unreadable> {
        let actions = serde_json::Deserializer::from_slice(lines).into_iter::<Action>();
        for action in actions {
            let action = action.map_err(|error| Unreadable::Entry {
                version,
                reason: error.to_string(),
            })?;
            self.apply(action)?;
        }
        self.version = version;
        Ok(())
    }

    pub(crate) fn apply(&mut self, action: Action) -> Result<(), Unreadable> {
        if let Some(protocol) = action.protocol
            && protocol.min_reader_version > READER_VERSION
        {
            return Err(Unreadable::Protocol(protocol.min_reader_version));
        }
        if let Some(add) = action.add {
            self.removed.remove(&add.path);
            let file = ColdFile::from_add(self.table, add);
            self.files.insert(file.path.clone(), file);
        }
        if let Some(removed) = action.remove {
            let path = decoded(&removed.path);
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

/// Paths in the log are URL-encoded.
pub(crate) fn decoded(path: &str) -> String {
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
