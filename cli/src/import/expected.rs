//! What must be there after an import: per conversation its events, and the sum of their bytes.

use std::collections::{BTreeMap, HashSet};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) rows: u64,
    pub(super) ids: HashSet<Uuid>,
    pub(super) bytes: u64,
    hasher: Sha256,
}

pub(super) type Expected = BTreeMap<String, Conversation>;

impl Conversation {
    pub(super) fn add(&mut self, id: Uuid, content: &[u8]) {
        self.ids.insert(id);
        self.add_bytes(content);
    }

    pub(super) fn add_bytes(&mut self, content: &[u8]) {
        self.bytes += content.len() as u64;
        self.hasher.update(content);
    }

    /// Of the joined content.
    pub(super) fn sha256(&self) -> String {
        use std::fmt::Write as _;
        let digest = self.hasher.clone().finalize();
        digest.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes everything");
            text
        })
    }
}
