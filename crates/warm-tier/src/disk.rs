//! Atomic file operations: write to a temporary name, sync, rename, sync the folder.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use crate::{
    error::{Error, Result},
    layout,
};

/// Replaces the content of `path` by `bytes`; after a crash it has the old bytes or the new ones.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let staged = layout::staged(path);
    let write = || -> io::Result<()> {
        let mut file = File::create(&staged)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(Error::file("write", &staged))?;
    rename(&staged, path)?;
    sync_dir_of(path)
}

pub(crate) fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(Error::file("sync", path))
}

pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    sync(dir)
}

fn sync_dir_of(path: &Path) -> Result<()> {
    sync_dir(path.parent().expect("a file lies in a folder"))
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(Error::file("rename to", to))
}

/// Removes `path` and DuckDB's write-ahead log beside it, if they exist.
pub(crate) fn remove(path: &Path) -> Result<()> {
    for path in [path, &layout::wal_of(path)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("remove", path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(crate) fn create_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(Error::file("create folder", dir))
}

/// The names of the plain files in `dir`, sorted.
pub(crate) fn files(dir: &Path) -> Result<Vec<String>> {
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    };
    list().map_err(Error::file("list", dir))
}

/// The bytes of a file and of DuckDB's write-ahead log beside it; 0 for a missing file.
pub(crate) fn bytes(path: &Path) -> u64 {
    let len = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
    len(path) + len(&layout::wal_of(path))
}

/// Checks that there is a file at `path`; [`Error::Damaged`] when there is none.
pub(crate) fn check_exists(path: &Path) -> Result<()> {
    match fs::metadata(path) {
        Ok(file) if file.is_file() => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("look at", path)(error))
        }
        _ => Err(Error::damaged(path, "it is missing")),
    }
}
