//! The Delta log of one table on its store: read entry by entry, extended by conditional puts.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use deltalake_core::{
    DeltaTable,
    checkpoints::create_checkpoint,
    kernel::Version,
    logstore::{LogStoreRef, default_logstore},
    operations::create::CreateBuilder,
};
use futures::TryStreamExt as _;
use object_store::{
    ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, memory::InMemory, path::Path,
    prefix::PrefixStore,
};
use serde::Deserialize;
use url::Url;

use crate::{
    checkpoint,
    error::{Error, Result},
    open::Location,
    replay::State,
    table::Table,
};

/// A checkpoint every so many entries, so that a reader starts with few small reads.
const CHECKPOINT_EVERY: Version = 20;

#[derive(Debug)]
pub(crate) struct Log {
    table: Table,
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    delta: LogStoreRef,
    state: Mutex<Option<Arc<State>>>,
}

impl Log {
    pub(crate) fn new(location: &Location, table: Table) -> Result<Self> {
        let prefix = location.prefix.clone().join(table.name());
        let url = format!("{}{}/", location.url, table.name());
        let url = Url::parse(&url).map_err(|error| Error::Config(format!("{url}: {error}")))?;
        let own = PrefixStore::new(Arc::clone(&location.store), prefix.clone());
        let options = Default::default();
        let delta = default_logstore(Arc::new(own), Arc::clone(&location.store), &url, &options);
        Ok(Self {
            table,
            store: Arc::clone(&location.store),
            prefix,
            delta,
            state: Mutex::new(None),
        })
    }

    pub(crate) fn table(&self) -> Table {
        self.table
    }

    /// Where the table's own path `path` lies in the store.
    pub(crate) fn object(&self, path: &str) -> Path {
        path.split('/')
            .fold(self.prefix.clone(), |joined, part| joined.join(part))
    }

    pub(crate) fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// Creates the table unless it is there. Racing creators all succeed, and one of them makes it.
    pub(crate) async fn create(&self) -> Result<()> {
        if self.refresh().await?.is_some() {
            return Ok(());
        }
        self.append(0, self.first_entry().await?).await?;
        match self.refresh().await? {
            Some(_) => Ok(()),
            None => Err(self.unreadable("it was created and is not there")),
        }
    }

    /// The entry that makes the table, written in memory: on the store itself a creator that comes
    /// second would add an entry of its own.
    async fn first_entry(&self) -> Result<Bytes> {
        let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let url = Url::parse("memory:///").expect("a constant");
        let log = default_logstore(
            Arc::clone(&memory),
            Arc::clone(&memory),
            &url,
            &Default::default(),
        );
        let checkpoint_every = CHECKPOINT_EVERY.to_string();
        CreateBuilder::new()
            .with_log_store(log)
            .with_table_name(self.table.name())
            .with_columns(self.table.delta_columns())
            .with_partition_columns(self.table.partition_columns().iter().copied())
            .with_configuration([("delta.checkpointInterval", Some(checkpoint_every))])
            .await?;
        let entry = Path::from(format!("_delta_log/{:020}.json", 0));
        Ok(memory.get(&entry).await?.bytes().await?)
    }

    /// The newest state; `None` while the table does not exist.
    pub(crate) async fn refresh(&self) -> Result<Option<Arc<State>>> {
        let known = self.known();
        let newest = match known {
            Some(state) => Some(self.follow(state).await?),
            None => match self.start().await? {
                Some(state) => Some(self.follow(Arc::new(state)).await?),
                None => None,
            },
        };
        let mut held = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(newest), held) = (&newest, &mut *held)
            && held.as_ref().is_none_or(|h| h.version < newest.version)
        {
            *held = Some(Arc::clone(newest));
        }
        Ok(newest)
    }

    fn known(&self) -> Option<Arc<State>> {
        let held = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }

    /// The last checkpoint, or the first entry.
    async fn start(&self) -> Result<Option<State>> {
        if let Some(version) = self.last_checkpoint().await? {
            return Ok(Some(self.checkpoint(version).await?));
        }
        let first = self.entry(0).await?;
        first
            .map(|lines| State::first_entry(self.table, &lines))
            .transpose()
            .map_err(|reason| self.unreadable(reason))
    }

    /// Applies every entry behind `state`.
    async fn follow(&self, mut state: Arc<State>) -> Result<Arc<State>> {
        loop {
            let next = state.version + 1;
            if let Some(lines) = self.entry(next).await? {
                Arc::make_mut(&mut state)
                    .apply_entry(next, &lines)
                    .map_err(|reason| self.unreadable(reason))?;
                continue;
            }
            // An entry may also be missing because the log was cleaned up behind a checkpoint.
            match self.last_checkpoint().await? {
                Some(version) if version > state.version => {
                    state = Arc::new(self.checkpoint(version).await?);
                }
                _ => return Ok(state),
            }
        }
    }

    /// The bytes of the entry of `version`; `None` when there is none.
    pub(crate) async fn entry(&self, version: Version) -> Result<Option<Bytes>> {
        self.get(&self.log_object(&format!("{version:020}.json")))
            .await
    }

    async fn last_checkpoint(&self) -> Result<Option<Version>> {
        #[derive(Deserialize)]
        struct Hint {
            version: Version,
        }
        let hint = self.get(&self.log_object("_last_checkpoint")).await?;
        let hint = hint.map(|json| serde_json::from_slice::<Hint>(&json));
        let hint = hint.transpose().map_err(|error| self.unreadable(error))?;
        Ok(hint.map(|hint| hint.version))
    }

    /// The state that the checkpoint of `version` holds, in one file or in parts.
    async fn checkpoint(&self, version: Version) -> Result<State> {
        let start = format!("{version:020}.checkpoint.");
        let before = self.log_object(&format!("{version:020}.checkpoint"));
        let log = self.prefix.clone().join("_delta_log");
        let objects = self.store.list_with_offset(Some(&log), &before);
        let objects: Vec<_> = objects.try_collect().await?;
        let mut state = State::at_checkpoint(self.table, version);
        for object in objects {
            let name = object.location.filename().unwrap_or_default();
            if !name.starts_with(&start) || !name.ends_with(".parquet") {
                continue;
            }
            let bytes = self.store.get(&object.location).await?.bytes().await?;
            let actions = tokio::task::spawn_blocking(move || checkpoint::actions(bytes)).await?;
            for action in actions.map_err(|error| self.unreadable(error))? {
                state
                    .apply(action)
                    .map_err(|reason| self.unreadable(reason))?;
            }
        }
        Ok(state)
    }

    async fn get(&self, object: &Path) -> Result<Option<Bytes>> {
        match self.store.get(object).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts the entry of `version` unless there is one: `Ok(false)`.
    pub(crate) async fn append(&self, version: Version, lines: Bytes) -> Result<bool> {
        let object = self.log_object(&format!("{version:020}.json"));
        let create = PutOptions::from(PutMode::Create);
        match self.store.put_opts(&object, lines.into(), create).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a checkpoint when one is due. The log is as good without; a failure is only told.
    pub(crate) async fn checkpoint_if_due(&self, version: Version) {
        if !version.is_multiple_of(CHECKPOINT_EVERY) {
            return;
        }
        let mut table = DeltaTable::new(Arc::clone(&self.delta), Default::default());
        let written = match table.load_version(version).await {
            Ok(()) => create_checkpoint(&table, None).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                table = self.table.name(),
                "no checkpoint written"
            );
        }
    }

    fn log_object(&self, name: &str) -> Path {
        self.prefix.clone().join("_delta_log").join(name)
    }

    fn unreadable(&self, reason: impl std::fmt::Display) -> Error {
        Error::Log {
            table: self.table.name(),
            reason: reason.to_string(),
        }
    }
}
