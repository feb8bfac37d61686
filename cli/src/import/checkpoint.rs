//! How far an import is: a small file, replaced as a whole.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

const VERSION: u32 = 1;

/// Everything up to `state` is acknowledged.
#[derive(Debug, Serialize, Deserialize)]
struct Document<S> {
    version: u32,
    /// What is imported.
    source: String,
    state: S,
}

/// What is read first, so that a newer one is known for what it is.
#[derive(Debug, Deserialize)]
struct Head {
    version: u32,
    source: String,
}

#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    source: String,
}

impl Checkpoint {
    pub(super) fn new(file: &Path, source: &str, path: Option<&Path>) -> Self {
        Self {
            path: path.map_or_else(|| beside(file, ".isotherm-import.json"), Path::to_owned),
            source: source.to_owned(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The last state saved; `None` when nothing was imported yet.
    pub(super) fn load<S: DeserializeOwned>(&self) -> anyhow::Result<Option<S>> {
        let path = self.path.display();
        let json = match fs::read(&self.path) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {path}")),
        };
        let context = || format!("{path} is no checkpoint of ours: remove it to begin anew");
        let head: Head = serde_json::from_slice(&json).with_context(context)?;
        if head.version != VERSION {
            bail!(
                "{path} was written by another version of isotherm: finish the import with that one"
            );
        }
        if head.source != self.source {
            bail!("{path} belongs to another file: name another checkpoint with --checkpoint");
        }
        let document: Document<S> = serde_json::from_slice(&json).with_context(context)?;
        Ok(Some(document.state))
    }

    /// Replaces what is there; a crash leaves the old or the new state, never half of one.
    pub(super) fn save<S: Serialize>(&self, state: &S) -> anyhow::Result<()> {
        let document = Document {
            version: VERSION,
            source: self.source.clone(),
            state,
        };
        self.replace(&document).with_context(|| {
            let path = self.path.display();
            format!("write the checkpoint {path}: name another place with --checkpoint")
        })
    }

    fn replace<S: Serialize>(&self, document: &Document<S>) -> std::io::Result<()> {
        let name = beside(&self.path, ".tmp");
        let mut file = File::create(&name)?;
        file.write_all(&serde_json::to_vec(document)?)?;
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
    fn a_state_comes_back_and_another_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.db");
        let ours = Checkpoint::new(&file, "one", None);
        assert_eq!(ours.load::<u32>().unwrap(), None);
        ours.save(&7_u32).unwrap();
        ours.save(&8_u32).unwrap();
        assert_eq!(ours.load::<u32>().unwrap(), Some(8));
        assert_eq!(ours.path(), dir.path().join("a.db.isotherm-import.json"));
        let other = Checkpoint::new(&file, "two", None)
            .load::<u32>()
            .unwrap_err();
        assert!(
            other.to_string().contains("belongs to another file"),
            "{other}"
        );
        fs::write(ours.path(), "{").unwrap();
        ours.load::<u32>().unwrap_err();
    }
}
