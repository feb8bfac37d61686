//! How far an import is: a small file, replaced as a whole.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Options;

const VERSION: u32 = 1;

/// Everything before `state` is acknowledged.
#[derive(Debug, Serialize, Deserialize)]
struct Document<S> {
    version: u32,
    /// Of the file that is imported.
    source: String,
    state: S,
}

#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    source: String,
}

impl Checkpoint {
    pub(super) fn new(file: &Path, source: &str, options: &Options) -> Self {
        let beside = || {
            let mut name = OsString::from(file);
            name.push(".isotherm-import");
            PathBuf::from(name)
        };
        Self {
            path: options.checkpoint.clone().unwrap_or_else(beside),
            source: source.to_owned(),
        }
    }

    /// The last state saved; `None` when nothing was imported yet.
    pub(super) fn load<S: DeserializeOwned>(&self) -> anyhow::Result<Option<S>> {
        let path = self.path.display();
        let json = match fs::read(&self.path) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {path}")),
        };
        let document: Document<S> = serde_json::from_slice(&json)
            .with_context(|| format!("{path} is no checkpoint of ours: remove it to begin anew"))?;
        if document.source != self.source || document.version != VERSION {
            bail!("{path} belongs to another file: remove it, or name another with --checkpoint");
        }
        Ok(Some(document.state))
    }

    /// Replaces what is there; a crash leaves the old or the new state, never half of one.
    pub(super) fn save<S: Serialize>(&self, state: &S) -> anyhow::Result<()> {
        let document = Document {
            version: VERSION,
            source: self.source.clone(),
            state,
        };
        let write = || {
            let mut name = OsString::from(&self.path);
            name.push(".tmp");
            let mut file = File::create(&name)?;
            serde_json::to_writer(&mut file, &document)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&name, &self.path)
        };
        write().with_context(|| {
            format!(
                "write the checkpoint {}: name another place with --checkpoint",
                self.path.display()
            )
        })
    }
}
