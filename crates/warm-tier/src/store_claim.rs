//! The store that a data folder belongs to.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    disk,
    error::{Error, Result},
    layout,
};

/// A data folder, and the store that uses it now.
#[derive(Clone, Debug)]
pub struct StoreClaim {
    data: PathBuf,
    store: Option<String>,
}

impl StoreClaim {
    /// Without the id of the `store` nothing is checked or claimed.
    #[must_use]
    pub fn new(data: &Path, store: Option<String>) -> Self {
        Self {
            data: data.to_owned(),
            store,
        }
    }

    /// The id of the store.
    #[must_use]
    pub fn store(&self) -> Option<&str> {
        self.store.as_deref()
    }

    /// Checks that the folder does not belong to another store.
    ///
    /// # Errors
    /// [`Error::OtherStore`] when it does: use another folder. [`Error::File`] when it cannot be read.
    pub fn check(&self) -> Result<()> {
        match (self.owner()?, &self.store) {
            (Some(found), Some(own)) if found != *own => Err(Error::OtherStore {
                path: self.data.clone(),
                found,
                own: own.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Makes the folder, whose events were seen to be those of the store's log, the store's.
    ///
    /// # Errors
    /// As [`StoreClaim::check`].
    pub fn claim(&self) -> Result<()> {
        self.check()?;
        match (self.owner()?, &self.store) {
            (None, Some(own)) => disk::replace(&self.path(), format!("{own}\n").as_bytes()),
            _ => Ok(()),
        }
    }

    /// The id in the folder; `None` in a new one, and in one of an older version.
    fn owner(&self) -> Result<Option<String>> {
        match fs::read_to_string(self.path()) {
            Ok(id) => Ok(Some(id.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("read", self.path())(error)),
        }
    }

    fn path(&self) -> PathBuf {
        self.data.join(layout::STORE)
    }
}
