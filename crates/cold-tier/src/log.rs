//! The Delta log of one table: read entry by entry, appended to by conditional puts.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use deltalake_core::{
    DeltaResult, DeltaTable,
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
    location::Location,
    owner,
    replay::{STORE_KEY, TableState},
    stall::StallGuard,
    table::Table,
};

/// Entries between two checkpoints: a new reader reads one checkpoint and about as many entries.
const CHECKPOINT_INTERVAL: Version = 20;

/// The Delta log of one table, and the latest state that was read from it.
#[derive(Debug)]
pub(crate) struct DeltaLog {
    table: Table,
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    delta: LogStoreRef,
    /// The folder of the cold tier.
    address: String,
    /// The id of the store that the table must belong to.
    pub(crate) store_id: Option<String>,
    stall: Arc<StallGuard>,
    latest: Mutex<Option<Arc<TableState>>>,
}

impl DeltaLog {
    /// Returns the log of `table` without reading it.
    pub(crate) fn new(
        location: &Location,
        table: Table,
        store_id: Option<String>,
        stall: Arc<StallGuard>,
    ) -> Result<Self> {
        let prefix = location.prefix.clone().join(table.name());
        let url = format!("{}{}/", location.url, table.name());
        let url = Url::parse(&url).map_err(|error| Error::Config(format!("{url}: {error}")))?;
        let table_store = PrefixStore::new(Arc::clone(&location.store), prefix.clone());
        let table_store = Arc::new(table_store);
        let options = Default::default();
        let delta = default_logstore(table_store, Arc::clone(&location.store), &url, &options);
        Ok(Self {
            table,
            store: Arc::clone(&location.store),
            prefix,
            delta,
            address: location.url.to_string(),
            store_id,
            stall,
            latest: Mutex::new(None),
        })
    }

    pub(crate) fn table(&self) -> Table {
        self.table
    }

    /// Returns the object of the path `path` within the table.
    pub(crate) fn object_path(&self, path: &str) -> Path {
        path.split('/')
            .fold(self.prefix.clone(), |joined, part| joined.join(part))
    }

    /// The folder of the table in the store.
    pub(crate) fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// Creates the table unless it exists. Of concurrent creators one writes it, and all succeed.
    pub(crate) async fn create(&self) -> Result<()> {
        if self.refresh().await?.is_some() {
            return Ok(());
        }
        self.append(0, self.first_entry().await?).await?;
        match self.refresh().await? {
            Some(_) => Ok(()),
            None => Err(self.unreadable_log("it was created and does not exist")),
        }
    }

    /// The entry that creates the table. Built in an in-memory store: on the real store the Delta
    /// library would add a second entry when another creator was first.
    async fn first_entry(&self) -> Result<Bytes> {
        let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let url = Url::parse("memory:///").expect("a constant");
        let log = default_logstore(
            Arc::clone(&memory),
            Arc::clone(&memory),
            &url,
            &Default::default(),
        );
        let interval = Some(CHECKPOINT_INTERVAL.to_string());
        let store = self.store_id.clone().map(|id| (STORE_KEY, Some(id)));
        let properties = [("delta.checkpointInterval", interval)];
        CreateBuilder::new()
            .with_log_store(log)
            .with_table_name(self.table.name())
            .with_columns(self.table.delta_columns())
            .with_partition_columns(self.table.partition_columns().iter().copied())
            .with_configuration(properties.into_iter().chain(store))
            .with_raise_if_key_not_exists(false)
            .await?;
        let entry = Path::from(format!("_delta_log/{:020}.json", 0));
        Ok(memory.get(&entry).await?.bytes().await?)
    }

    /// Reads the log to its end and returns the latest state; `None` while the table does not
    /// exist.
    pub(crate) async fn refresh(&self) -> Result<Option<Arc<TableState>>> {
        let known = self.latest().clone();
        let refreshed = match known {
            Some(state) => Some(self.replay_from(state).await?),
            None => match self.initial_state().await? {
                Some(state) => Some(self.replay_from(Arc::new(state)).await?),
                None => None,
            },
        };
        if let Some(state) = &refreshed {
            owner::check(state, self.store_id.as_deref(), &self.address)?;
        }
        let mut latest = self.latest();
        if let (Some(refreshed), latest) = (&refreshed, &mut *latest)
            && latest
                .as_ref()
                .is_none_or(|latest| latest.version < refreshed.version)
        {
            *latest = Some(Arc::clone(refreshed));
        }
        Ok(refreshed)
    }

    fn latest(&self) -> MutexGuard<'_, Option<Arc<TableState>>> {
        self.latest
            .lock()
            .unwrap_or_else(|error| error.into_inner())
    }

    /// The state of the last checkpoint, or of the first entry.
    async fn initial_state(&self) -> Result<Option<TableState>> {
        if let Some(version) = self.last_checkpoint().await? {
            return Ok(Some(self.load_checkpoint(version).await?));
        }
        let first = self.entry(0).await?;
        first
            .map(|lines| TableState::from_first_entry(self.table, &lines))
            .transpose()
            .map_err(|reason| self.unreadable_log(reason))
    }

    /// Applies every entry after `state`.
    async fn replay_from(&self, mut state: Arc<TableState>) -> Result<Arc<TableState>> {
        loop {
            let next = state.version + 1;
            if let Some(lines) = self.entry(next).await? {
                Arc::make_mut(&mut state)
                    .apply_entry(next, &lines)
                    .map_err(|reason| self.unreadable_log(reason))?;
                continue;
            }
            // The next entry is missing at the end of the log, but also where another engine
            // deleted entries that a checkpoint covers.
            match self.last_checkpoint().await? {
                Some(version) if version > state.version => {
                    state = Arc::new(self.load_checkpoint(version).await?);
                }
                _ => return Ok(state),
            }
        }
    }

    /// Returns the JSON lines of the entry of `version`; `None` when it does not exist.
    pub(crate) async fn entry(&self, version: Version) -> Result<Option<Bytes>> {
        self.read_object(&self.log_object(&format!("{version:020}.json")))
            .await
    }

    /// The version that `_last_checkpoint` names.
    async fn last_checkpoint(&self) -> Result<Option<Version>> {
        #[derive(Deserialize)]
        struct Hint {
            version: Version,
        }
        let hint = self
            .read_object(&self.log_object("_last_checkpoint"))
            .await?;
        let hint = hint.map(|json| serde_json::from_slice::<Hint>(&json));
        let hint = hint
            .transpose()
            .map_err(|error| self.unreadable_log(error))?;
        Ok(hint.map(|hint| hint.version))
    }

    /// Reads the state from the checkpoint of `version`, which is one file or several parts.
    async fn load_checkpoint(&self, version: Version) -> Result<TableState> {
        let name_prefix = format!("{version:020}.checkpoint.");
        let before = self.log_object(&format!("{version:020}.checkpoint"));
        let log = self.prefix.clone().join("_delta_log");
        let objects = self.store.list_with_offset(Some(&log), &before);
        let objects: Vec<_> = self.stall.within(objects.try_collect()).await??;
        let mut state = TableState::empty(self.table, version);
        for object in objects {
            let name = object.location.filename().unwrap_or_default();
            if !name.starts_with(&name_prefix) || !name.ends_with(".parquet") {
                continue;
            }
            let bytes = self.stall.get(&self.store, &object.location, None).await?;
            let actions = tokio::task::spawn_blocking(move || checkpoint::actions(bytes)).await?;
            for action in actions.map_err(|error| self.unreadable_log(error))? {
                state
                    .apply(action)
                    .map_err(|reason| self.unreadable_log(reason))?;
            }
        }
        Ok(state)
    }

    async fn read_object(&self, object: &Path) -> Result<Option<Bytes>> {
        match self.stall.get(&self.store, object, None).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::Gone { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts the entry of `version`; returns `false` when that entry exists already.
    pub(crate) async fn append(&self, version: Version, lines: Bytes) -> Result<bool> {
        let object = self.log_object(&format!("{version:020}.json"));
        let create = PutOptions::from(PutMode::Create);
        match self.store.put_opts(&object, lines.into(), create).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a checkpoint when one is due. It only saves reads, so a failure is logged and
    /// ignored.
    pub(crate) async fn checkpoint_if_due(&self, version: Version) {
        if !version.is_multiple_of(CHECKPOINT_INTERVAL) {
            return;
        }
        let written = match self.delta_table(version).await {
            Ok(table) => create_checkpoint(&table, None).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                table = self.table.name(),
                "failed to write checkpoint"
            );
        }
    }

    /// Returns the table of `version` as the Delta library has it.
    pub(crate) async fn delta_table(&self, version: Version) -> DeltaResult<DeltaTable> {
        let mut table = DeltaTable::new(Arc::clone(&self.delta), Default::default());
        table.load_version(version).await?;
        Ok(table)
    }

    /// Returns the object `name` in the folder of the log.
    fn log_object(&self, name: &str) -> Path {
        self.prefix.clone().join("_delta_log").join(name)
    }

    fn unreadable_log(&self, reason: impl std::fmt::Display) -> Error {
        Error::Log {
            table: self.table.name(),
            reason: reason.to_string(),
        }
    }
}
