//! The data folder of one `dev`: made when it is not there, and taken away again when nothing came
//! of it.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::cold;

const LOCK: &str = "LOCK";
/// What is there before any program is started.
const FOLDERS: [&str; 2] = ["logs", "cold"];

/// Nobody else uses it while this lives.
#[derive(Debug)]
pub(super) struct Folder {
    /// Absolute, because the services may be started elsewhere.
    path: PathBuf,
    /// Whether this run made it.
    is_new: bool,
    _lock: Flock<File>,
}

impl Folder {
    pub(super) fn open(dir: &Path) -> anyhow::Result<Self> {
        let is_new = make(dir).with_context(|| {
            let dir = dir.display();
            format!("create the data folder {dir}; choose another with --data")
        })?;
        let path = dir
            .canonicalize()
            .with_context(|| format!("open the data folder {}", dir.display()))?;
        Ok(Self {
            _lock: lock(&path)?,
            path,
            is_new,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// After a failure: a folder of this run is removed unless it holds more than was put there
    /// before any program was started.
    pub(super) fn forget(self) {
        if !self.is_new || !is_untouched(&self.path).unwrap_or(false) {
            return;
        }
        // Each fails when something has come meanwhile, and then leaves it.
        for name in FOLDERS {
            let _ = fs::remove_dir(self.path.join(name));
        }
        for name in [cold::KEPT, LOCK] {
            let _ = fs::remove_file(self.path.join(name));
        }
        let _ = fs::remove_dir(&self.path);
    }
}

/// Says whether the folder was not there before.
fn make(dir: &Path) -> std::io::Result<bool> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    let is_new = match fs::create_dir(dir) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    fs::create_dir_all(dir.join("logs"))?;
    Ok(is_new)
}

fn lock(data: &Path) -> anyhow::Result<Flock<File>> {
    let path = data.join(LOCK);
    let file = File::create(&path).with_context(|| format!("write {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, Errno::EWOULDBLOCK)) => bail!(
            "the data folder {} is in use by another `isotherm dev`: stop that one, or choose \
             another folder with --data",
            data.display()
        ),
        Err((_, error)) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

fn is_untouched(dir: &Path) -> std::io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_folder = FOLDERS.iter().any(|folder| name == *folder);
        let is_ours = match is_folder {
            true => entry.file_type()?.is_dir() && fs::read_dir(entry.path())?.next().is_none(),
            false => name == LOCK || name == cold::KEPT,
        };
        if !is_ours {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_folder_that_was_made_for_nothing_is_removed() {
        let dir = TempDir::new().unwrap();
        let data = dir.path().join("deep/data");
        let folder = Folder::open(&data).unwrap();
        cold::url(None, folder.path()).unwrap();
        folder.forget();
        assert!(!data.exists());
    }

    #[test]
    fn a_folder_that_was_there_or_holds_anything_more_stays() {
        let there = TempDir::new().unwrap();
        Folder::open(there.path()).unwrap().forget();
        assert!(there.path().join("logs").exists());

        for name in ["nats", "logs/nats.log", "cold/part", "notes"] {
            let dir = TempDir::new().unwrap();
            let data = dir.path().join("data");
            let folder = Folder::open(&data).unwrap();
            fs::create_dir_all(data.join("cold")).unwrap();
            fs::write(data.join(name), "x").unwrap();
            folder.forget();
            assert!(data.join(name).exists(), "{name}");
            assert!(data.join("logs").exists(), "{name}");
        }
    }

    #[test]
    fn a_folder_in_use_is_refused_and_stays() {
        let dir = TempDir::new().unwrap();
        let data = dir.path().join("data");
        let first = Folder::open(&data).unwrap();
        let said = Folder::open(&data).unwrap_err().to_string();
        assert!(said.contains("in use by another"), "{said}");
        assert!(data.exists());
        first.forget();
    }
}
