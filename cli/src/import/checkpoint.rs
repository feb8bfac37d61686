//! Checkpoint of an import: a small file with the progress for each store that the source was sent to,
//! replaced atomically.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

/// Version of the file format.
const CHECKPOINT_VERSION: u32 = 2;

/// The content of the file.
#[derive(Debug, Serialize, Deserialize)]
struct CheckpointFile {
    version: u32,
    /// Identity of the imported source.
    source: String,
    /// By id of the store: the state up to which it has acknowledged everything.
    stores: BTreeMap<String, Box<RawValue>>,
}

/// The fields that every version has; read first, so that another version is recognized.
#[derive(Debug, Deserialize)]
struct CheckpointHeader {
    version: u32,
    source: String,
}

/// The checkpoint of one source in one store.
#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    source: String,
    store: String,
}

impl Checkpoint {
    /// The checkpoint of the import of `file`, identified by `source`, into `store`. Without `path` it lies
    /// beside `file`.
    pub(super) fn new(file: &Path, source: &str, store: &str, path: Option<&Path>) -> Self {
        Self {
            path: path.map_or_else(|| beside(file, ".isotherm-import.json"), Path::to_owned),
            source: source.to_owned(),
            store: store.to_owned(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Loads the last state for this store; `None` when nothing was imported into it yet.
    pub(super) fn load<S: DeserializeOwned>(&self) -> anyhow::Result<Option<S>> {
        let stores = self.stores()?;
        let Some(state) = stores.get(&self.store) else {
            if !stores.is_empty() {
                let path = self.path.display();
                crate::output::note(&format!(
                    "{path} is about another store; this one gets everything"
                ));
            }
            return Ok(None);
        };
        let state = serde_json::from_str(state.get()).with_context(|| self.unreadable())?;
        Ok(Some(state))
    }

    fn stores(&self) -> anyhow::Result<BTreeMap<String, Box<RawValue>>> {
        let path = self.path.display();
        let json = match fs::read(&self.path) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(BTreeMap::new());
            }
            Err(error) => return Err(error).with_context(|| format!("read {path}")),
        };
        let header: CheckpointHeader =
            serde_json::from_slice(&json).with_context(|| self.unreadable())?;
        if header.version == 1 {
            bail!(
                "{path} does not say into which store it went, an earlier version wrote it: finish \
                 that import with that version, and name another checkpoint with --checkpoint for \
                 any other store"
            );
        }
        if header.version != CHECKPOINT_VERSION {
            bail!(
                "{path} was written by another version of isotherm: finish the import with that one"
            );
        }
        if header.source != self.source {
            bail!("{path} belongs to another file: name another checkpoint with --checkpoint");
        }
        let content: CheckpointFile =
            serde_json::from_slice(&json).with_context(|| self.unreadable())?;
        Ok(content.stores)
    }

    fn unreadable(&self) -> String {
        let path = self.path.display();
        format!("{path} is no checkpoint of ours: remove it to begin anew")
    }

    /// Replaces the state for this store atomically: a crash leaves the old or the new one.
    pub(super) fn save<S: Serialize>(&self, state: &S) -> anyhow::Result<()> {
        let mut stores = self.stores()?;
        let state = serde_json::value::to_raw_value(state).context("write the state as JSON")?;
        stores.insert(self.store.clone(), state);
        let content = CheckpointFile {
            version: CHECKPOINT_VERSION,
            source: self.source.clone(),
            stores,
        };
        self.replace(&content).with_context(|| {
            let path = self.path.display();
            format!("write the checkpoint {path}: name another place with --checkpoint")
        })
    }

    fn replace(&self, content: &CheckpointFile) -> std::io::Result<()> {
        let name = beside(&self.path, ".tmp");
        let mut file = File::create(&name)?;
        file.write_all(&serde_json::to_vec(content)?)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&name, &self.path)
    }
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_store_has_a_state_and_another_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.db");
        let ours = Checkpoint::new(&file, "one", "here", None);
        assert_eq!(ours.load::<u32>().unwrap(), None);
        ours.save(&7_u32).unwrap();
        ours.save(&8_u32).unwrap();
        assert_eq!(ours.load::<u32>().unwrap(), Some(8));
        assert_eq!(ours.path(), dir.path().join("a.db.isotherm-import.json"));
        let there = Checkpoint::new(&file, "one", "there", None);
        assert_eq!(there.load::<u32>().unwrap(), None);
        there.save(&1_u32).unwrap();
        assert_eq!(ours.load::<u32>().unwrap(), Some(8));
        assert_eq!(there.load::<u32>().unwrap(), Some(1));
        let other = Checkpoint::new(&file, "two", "here", None);
        let other = other.load::<u32>().unwrap_err();
        assert!(
            other.to_string().contains("belongs to another file"),
            "{other}"
        );
        fs::write(ours.path(), "{").unwrap();
        ours.load::<u32>().unwrap_err();
    }

    #[test]
    fn a_checkpoint_that_names_no_store_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let ours = Checkpoint::new(&dir.path().join("a.db"), "one", "here", None);
        fs::write(ours.path(), r#"{"version":1,"source":"one","state":7}"#).unwrap();
        let error = ours.load::<u32>().unwrap_err();
        assert!(error.to_string().contains("into which store"), "{error}");
    }
}
