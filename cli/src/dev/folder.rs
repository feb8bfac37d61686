//! The data folder of one `dev`: created when it is missing, and removed again when the start fails
//! before anything was stored in it.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::cold;

const LOCK_FILE: &str = "LOCK";
const PRIVATE_MODE: u32 = 0o700;
/// The folders that are created before any program is started.
const CREATED_FOLDERS: [&str; 2] = ["logs", "cold"];

/// An open data folder, locked against other `dev` processes.
#[derive(Debug)]
pub(super) struct DataFolder {
    /// Absolute, because the services may be started elsewhere.
    path: PathBuf,
    /// True when this run created it.
    is_new: bool,
    _lock: Flock<File>,
}

impl DataFolder {
    /// Creates the folder when it is missing, and locks it.
    pub(super) fn open(dir: &Path) -> anyhow::Result<Self> {
        let is_new = create(dir).with_context(|| {
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

    /// Removes the folder after a failed start, if this run created it and it has nothing but what is
    /// created before any program is started.
    pub(super) fn remove_if_unused(self) {
        if !self.is_new || !is_untouched(&self.path).unwrap_or(false) {
            return;
        }
        // Each call fails when a file was added meanwhile, and then leaves the folder.
        for name in CREATED_FOLDERS {
            let _ = fs::remove_dir(self.path.join(name));
        }
        for name in [cold::COLD_URL_FILE, LOCK_FILE] {
            let _ = fs::remove_file(self.path.join(name));
        }
        let _ = fs::remove_dir(&self.path);
    }
}

/// Creates the folder for its owner alone; true when it did not exist before.
fn create(dir: &Path) -> std::io::Result<bool> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    let is_new = match DirBuilder::new().mode(PRIVATE_MODE).create(dir) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    if dir.join(LOCK_FILE).exists() {
        // Made by an earlier version, which left it open to others.
        fs::set_permissions(dir, Permissions::from_mode(PRIVATE_MODE))?;
    }
    fs::create_dir_all(dir.join("logs"))?;
    Ok(is_new)
}

fn lock(data: &Path) -> anyhow::Result<Flock<File>> {
    let path = data.join(LOCK_FILE);
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
        let is_folder = CREATED_FOLDERS.iter().any(|folder| name == *folder);
        let is_ours = match is_folder {
            true => entry.file_type()?.is_dir() && fs::read_dir(entry.path())?.next().is_none(),
            false => name == LOCK_FILE || name == cold::COLD_URL_FILE,
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
        let folder = DataFolder::open(&data).unwrap();
        cold::url(None, folder.path()).unwrap();
        folder.remove_if_unused();
        assert!(!data.exists());
    }

    #[test]
    fn a_folder_that_was_there_or_holds_anything_more_stays() {
        let there = TempDir::new().unwrap();
        DataFolder::open(there.path()).unwrap().remove_if_unused();
        assert!(there.path().join("logs").exists());

        for name in ["nats", "logs/nats.log", "cold/part", "notes"] {
            let dir = TempDir::new().unwrap();
            let data = dir.path().join("data");
            let folder = DataFolder::open(&data).unwrap();
            fs::create_dir_all(data.join("cold")).unwrap();
            fs::write(data.join(name), "x").unwrap();
            folder.remove_if_unused();
            assert!(data.join(name).exists(), "{name}");
            assert!(data.join("logs").exists(), "{name}");
        }
    }

    #[test]
    fn a_data_folder_is_its_owners_alone_also_when_an_earlier_version_made_it() {
        let dir = TempDir::new().unwrap();
        let data = dir.path().join("data");
        let mode = || fs::metadata(&data).unwrap().permissions().mode() & 0o777;
        drop(DataFolder::open(&data).unwrap());
        assert_eq!(mode(), PRIVATE_MODE);
        fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
        drop(DataFolder::open(&data).unwrap());
        assert_eq!(mode(), PRIVATE_MODE);
    }

    #[test]
    fn a_folder_in_use_is_refused_and_stays() {
        let dir = TempDir::new().unwrap();
        let data = dir.path().join("data");
        let first = DataFolder::open(&data).unwrap();
        let said = DataFolder::open(&data).unwrap_err().to_string();
        assert!(said.contains("in use by another"), "{said}");
        assert!(data.exists());
        first.remove_if_unused();
    }
}
