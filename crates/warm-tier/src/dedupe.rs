//! Which events are new: the ids of the open segment in memory, and for every range sealed in the
//! last 24 h a filter in memory before an exact look into its id file.
//!
//! The log's order decides: the least position of an id stays, whatever comes later is dropped.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher as _,
    path::{Path, PathBuf},
};

use ahash::{HashMap, HashSet};
use duckdb::Connection;
use event::{ConversationId, EventId, StoredEvent, TenantId};
use xorf::{BinaryFuse16, Filter as _};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    engine::{self, Engine},
    error::{Error, Result},
    manifest::IdFile,
    open_segment::{Duplicate, OpenSegment, identity},
    slice_file,
};

/// An event's id and a seeded hash of its tenant and conversation.
type Key = (u128, u64);

/// Every id of one partition that may come again.
pub(crate) struct Dedupe {
    engine: Engine,
    dir: PathBuf,
    seed: u64,
    open: HashSet<Key>,
    /// Ascending by range.
    sealed: Vec<SealedIds>,
    /// Bytes that the filters may take together; beyond, the oldest ranges have none and are
    /// looked up each time.
    budget: usize,
}

struct SealedIds {
    file: IdFile,
    filter: Option<BinaryFuse16>,
}

impl std::fmt::Debug for Dedupe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dedupe")
            .field("open", &self.open.len())
            .field("sealed", &self.sealed.len())
            .finish_non_exhaustive()
    }
}

impl Dedupe {
    /// Knows what `files` and `open` hold.
    pub(crate) fn load(
        engine: &Engine,
        dir: &Path,
        files: &[IdFile],
        open: &OpenSegment,
        budget: usize,
    ) -> Result<Self> {
        let mut dedupe = Self {
            engine: engine.clone(),
            dir: dir.to_owned(),
            seed: RandomState::new().hash_one(0_u8),
            open: HashSet::default(),
            sealed: Vec::new(),
            budget,
        };
        for file in files {
            let keys = dedupe.keys_of_file(file)?;
            dedupe.add_sealed(file.clone(), keys);
        }
        let connection = engine.connect()?;
        let events = format!("{}.events", open.alias);
        dedupe.open = dedupe.keys(&connection, &events)?.into_iter().collect();
        Ok(dedupe)
    }

    /// Splits `events`, in log order, into those that are new, which are known from now on, and
    /// those that were there before.
    pub(crate) fn split(
        &mut self,
        events: Vec<StoredEvent>,
    ) -> Result<(Vec<StoredEvent>, Vec<Duplicate>)> {
        let keys: Vec<Key> = events.iter().map(|event| self.key_of(event)).collect();
        let sealed = self.in_sealed(&events, &keys)?;
        let (mut fresh, mut dropped) = (Vec::with_capacity(events.len()), Vec::new());
        for (event, key) in events.into_iter().zip(keys) {
            if !sealed.contains(&key) && self.open.insert(key) {
                fresh.push(event);
            } else {
                dropped.push(Duplicate {
                    seq: event.position.seq,
                    idx: event.position.idx,
                    tenant: event.event.tenant,
                    conversation_id: event.event.conversation_id,
                    event_id: event.event.event_id,
                });
            }
        }
        Ok((fresh, dropped))
    }

    /// The open segment has become the sealed range of `file`.
    pub(crate) fn seal(&mut self, file: IdFile) {
        let keys = std::mem::take(&mut self.open);
        self.add_sealed(file, keys.into_iter().collect());
    }

    /// Forgets the ranges whose files are no longer in `files`.
    pub(crate) fn retain(&mut self, files: &[IdFile]) {
        self.sealed.retain(|sealed| files.contains(&sealed.file));
    }

    fn add_sealed(&mut self, file: IdFile, keys: Vec<Key>) {
        let mut hashes: Vec<u64> = keys.iter().map(|key| self.hash(*key)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        // Without a filter a range is looked up each time, which is slow and right.
        let filter = BinaryFuse16::try_from(&hashes).ok();
        self.sealed.push(SealedIds { file, filter });
        let size = |sealed: &SealedIds| {
            sealed
                .filter
                .as_ref()
                .map_or(0, |f| f.fingerprints.len() * 2)
        };
        let mut used: usize = self.sealed.iter().map(size).sum();
        for sealed in &mut self.sealed {
            if used <= self.budget {
                break;
            }
            used -= size(sealed);
            sealed.filter = None;
        }
    }

    /// Which of `keys` a sealed range has.
    fn in_sealed(&self, events: &[StoredEvent], keys: &[Key]) -> Result<HashSet<Key>> {
        let mut found = HashSet::default();
        let hashes: Vec<u64> = keys.iter().map(|key| self.hash(*key)).collect();
        for sealed in &self.sealed {
            let maybe = |hash: &u64| sealed.filter.as_ref().is_none_or(|f| f.contains(hash));
            let asked: HashMap<Key, &StoredEvent> = (events.iter().zip(keys).zip(&hashes))
                .filter(|((_, key), hash)| !found.contains(*key) && maybe(hash))
                .map(|((event, key), _)| (*key, event))
                .collect();
            if !asked.is_empty() {
                self.look_up(&sealed.file, &asked, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Asks the file itself, by the ids' own texts.
    fn look_up(
        &self,
        file: &IdFile,
        asked: &HashMap<Key, &StoredEvent>,
        found: &mut HashSet<Key>,
    ) -> Result<()> {
        let connection = self.engine.connect()?;
        connection.execute_batch("CREATE OR REPLACE TEMP TABLE asked (event_id VARCHAR)")?;
        let mut appender = connection.appender_to_catalog_and_db("asked", "temp", "main")?;
        for event in asked.values() {
            appender.append_row([event.event.event_id.to_string()])?;
        }
        appender.flush()?;
        drop(appender);
        let rows = self.attached(&connection, file, |alias| {
            format!("{alias}.ids JOIN (SELECT DISTINCT event_id::UUID AS event_id FROM asked) USING (event_id)")
        })?;
        for (tenant, conversation, id) in rows {
            let key = self.key(&tenant, &conversation, id);
            let same = |event: &&&StoredEvent| {
                event.event.tenant == tenant && event.event.conversation_id == conversation
            };
            if asked.get(&key).filter(same).is_some() {
                found.insert(key);
            }
        }
        Ok(())
    }

    fn keys_of_file(&self, file: &IdFile) -> Result<Vec<Key>> {
        let connection = self.engine.connect()?;
        let rows = self.attached(&connection, file, |alias| format!("{alias}.ids"))?;
        let key = |(tenant, conversation, id): &Identity| self.key(tenant, conversation, *id);
        Ok(rows.iter().map(key).collect())
    }

    fn attached(
        &self,
        connection: &Connection,
        file: &IdFile,
        source: impl Fn(&str) -> String,
    ) -> Result<Vec<Identity>> {
        let (path, alias) = (self.dir.join(&file.file), slice_file::alias("ids"));
        if !path.is_file() {
            return Err(Error::damaged(path, "it is missing"));
        }
        let damaged = |error: Error| Error::damaged(&path, error);
        engine::attach_read_only(connection, &path, &alias).map_err(damaged)?;
        let rows = identities(connection, &source(&alias)).map_err(damaged);
        engine::detach(connection, &alias)?;
        rows
    }

    fn keys(&self, connection: &Connection, source: &str) -> Result<Vec<Key>> {
        let rows = identities(connection, source)?;
        let key = |(tenant, conversation, id): &Identity| self.key(tenant, conversation, *id);
        Ok(rows.iter().map(key).collect())
    }

    fn key_of(&self, event: &StoredEvent) -> Key {
        let event = &event.event;
        self.key(&event.tenant, &event.conversation_id, event.event_id)
    }

    fn key(&self, tenant: &TenantId, conversation: &ConversationId, id: EventId) -> Key {
        let owner = [tenant.as_str(), conversation.as_str()].join("\0");
        (id.as_u128(), xxh3_64_with_seed(owner.as_bytes(), self.seed))
    }

    fn hash(&self, (id, owner): Key) -> u64 {
        xxh3_64_with_seed(&id.to_le_bytes(), owner)
    }
}

type Identity = (TenantId, ConversationId, EventId);

fn identities(connection: &Connection, source: &str) -> Result<Vec<Identity>> {
    let sql = format!("SELECT tenant, conversation_id, event_id::VARCHAR FROM {source}");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut identities = Vec::new();
    while let Some(row) = rows.next()? {
        let texts: (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        identities.push(identity(&texts.0, &texts.1, &texts.2)?);
    }
    Ok(identities)
}
