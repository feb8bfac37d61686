//! Deduplication by event id: the ids of what is not sealed are in memory; every range sealed in the
//! last 24 h has a filter in memory, and a hit there is confirmed by an exact lookup in its id file.
//!
//! The log's order decides: of the events with one id the first stays, every later one is dropped.

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
    duplicates::Duplicate,
    engine::{self, Engine},
    error::{Error, Result},
    ids_file::identity,
    manifest::IdFile,
    slice_file,
};

/// An event's id and a seeded hash of its tenant and conversation.
type EventKey = (u128, u64);

/// The ids of one partition's unsealed parts and of its ranges sealed in the last 24 h.
pub(crate) struct Dedupe {
    engine: Engine,
    dir: PathBuf,
    seed: u64,
    open: HashSet<EventKey>,
    /// Of the part whose seal is not finished.
    sealing: HashSet<EventKey>,
    /// Ascending by range.
    sealed: Vec<SealedIds>,
    /// Bytes that the filters may take together; beyond that, the oldest ranges have none and are
    /// looked up each time.
    filter_budget: usize,
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
    /// Loads the ids of `files`.
    pub(crate) fn load(
        engine: &Engine,
        dir: &Path,
        files: &[IdFile],
        filter_budget: usize,
    ) -> Result<Self> {
        let mut dedupe = Self {
            engine: engine.clone(),
            dir: dir.to_owned(),
            seed: RandomState::new().hash_one(0_u8),
            open: HashSet::default(),
            sealing: HashSet::default(),
            sealed: Vec::new(),
            filter_budget,
        };
        dedupe.add_files(files)?;
        Ok(dedupe)
    }

    /// Splits `events`, in log order, into the new ones, whose ids are added, and the duplicates.
    pub(crate) fn split(
        &mut self,
        events: Vec<StoredEvent>,
    ) -> Result<(Vec<StoredEvent>, Vec<Duplicate>)> {
        let keys: Vec<EventKey> = events.iter().map(|event| self.key_of(event)).collect();
        let sealed = self.in_sealed(&events, &keys)?;
        let (mut fresh, mut dropped) = (Vec::with_capacity(events.len()), Vec::new());
        for (event, key) in events.into_iter().zip(keys) {
            let is_known = sealed.contains(&key) || self.sealing.contains(&key);
            if !is_known && self.open.insert(key) {
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

    /// Ends the ids of the open part, whose seal starts.
    pub(crate) fn start_seal(&mut self) {
        self.sealing = std::mem::take(&mut self.open);
    }

    /// Moves the ids of the part whose seal is finished to the sealed range of `file`.
    pub(crate) fn finish_seal(&mut self, file: IdFile) {
        let keys = std::mem::take(&mut self.sealing);
        self.add_sealed(file, keys.into_iter().collect());
    }

    /// Loads the ids of sealed ranges.
    pub(crate) fn add_files(&mut self, files: &[IdFile]) -> Result<()> {
        for file in files {
            let keys = self.keys_of_file(file)?;
            self.add_sealed(file.clone(), keys);
        }
        self.sealed.sort_by_key(|sealed| sealed.file.lo);
        Ok(())
    }

    /// Drops the ranges whose id files are not in `files`.
    pub(crate) fn retain(&mut self, files: &[IdFile]) {
        self.sealed.retain(|sealed| files.contains(&sealed.file));
    }

    fn add_sealed(&mut self, file: IdFile, keys: Vec<EventKey>) {
        let mut hashes: Vec<u64> = keys.iter().map(|key| self.hash(*key)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        // Without a filter every event is looked up in the range's file: slow but correct.
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
            if used <= self.filter_budget {
                break;
            }
            used -= size(sealed);
            sealed.filter = None;
        }
    }

    /// Returns those of `keys` that a sealed range has.
    fn in_sealed(&self, events: &[StoredEvent], keys: &[EventKey]) -> Result<HashSet<EventKey>> {
        let mut found = HashSet::default();
        let hashes: Vec<u64> = keys.iter().map(|key| self.hash(*key)).collect();
        for sealed in &self.sealed {
            let maybe = |hash: &u64| sealed.filter.as_ref().is_none_or(|f| f.contains(hash));
            let candidates: HashMap<EventKey, &StoredEvent> =
                (events.iter().zip(keys).zip(&hashes))
                    .filter(|((_, key), hash)| !found.contains(*key) && maybe(hash))
                    .map(|((event, key), _)| (*key, event))
                    .collect();
            if !candidates.is_empty() {
                self.look_up(&sealed.file, &candidates, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Looks up `candidates` in the id file and adds those that it has to `found`.
    fn look_up(
        &self,
        file: &IdFile,
        candidates: &HashMap<EventKey, &StoredEvent>,
        found: &mut HashSet<EventKey>,
    ) -> Result<()> {
        let connection = self.engine.connect()?;
        connection.execute_batch("CREATE OR REPLACE TEMP TABLE candidates (event_id VARCHAR)")?;
        let mut appender = connection.appender_to_catalog_and_db("candidates", "temp", "main")?;
        for event in candidates.values() {
            appender.append_row([event.event.event_id.to_string()])?;
        }
        appender.flush()?;
        drop(appender);
        let rows = self.identities_in_file(&connection, file, |alias| {
            format!("{alias}.ids JOIN (SELECT DISTINCT event_id::UUID AS event_id FROM candidates) USING (event_id)")
        })?;
        for (tenant, conversation, id) in rows {
            let key = self.key(&tenant, &conversation, id);
            let same = |event: &&&StoredEvent| {
                event.event.tenant == tenant && event.event.conversation_id == conversation
            };
            if candidates.get(&key).filter(same).is_some() {
                found.insert(key);
            }
        }
        Ok(())
    }

    fn keys_of_file(&self, file: &IdFile) -> Result<Vec<EventKey>> {
        let connection = self.engine.connect()?;
        let rows = self.identities_in_file(&connection, file, |alias| format!("{alias}.ids"))?;
        let key = |(tenant, conversation, id): &EventIdentity| self.key(tenant, conversation, *id);
        Ok(rows.iter().map(key).collect())
    }

    /// Attaches `file` and reads the identities that `source`, given the alias, selects.
    fn identities_in_file(
        &self,
        connection: &Connection,
        file: &IdFile,
        source: impl Fn(&str) -> String,
    ) -> Result<Vec<EventIdentity>> {
        let (path, alias) = (self.dir.join(&file.file), slice_file::alias("ids"));
        if !path.is_file() {
            return Err(Error::damaged(path, "it is missing"));
        }
        let of_file = |error: Error| error.of_file(&path);
        engine::attach_read_only(connection, &path, &alias).map_err(of_file)?;
        let rows = identities(connection, &source(&alias)).map_err(of_file);
        engine::detach(connection, &alias)?;
        rows
    }

    fn key_of(&self, event: &StoredEvent) -> EventKey {
        let event = &event.event;
        self.key(&event.tenant, &event.conversation_id, event.event_id)
    }

    fn key(&self, tenant: &TenantId, conversation: &ConversationId, id: EventId) -> EventKey {
        let owner = [tenant.as_str(), conversation.as_str()].join("\0");
        (id.as_u128(), xxh3_64_with_seed(owner.as_bytes(), self.seed))
    }

    fn hash(&self, (id, owner): EventKey) -> u64 {
        xxh3_64_with_seed(&id.to_le_bytes(), owner)
    }
}

type EventIdentity = (TenantId, ConversationId, EventId);

fn identities(connection: &Connection, source: &str) -> Result<Vec<EventIdentity>> {
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
