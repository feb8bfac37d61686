//! Objects on the local disk: named by their content, checked whenever they are read, the least
//! recently used ones dropped first. It may be deleted at any time.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::stage::sha256;

/// A directory of at most so many bytes.
#[derive(Debug)]
pub struct ObjectCache {
    dir: PathBuf,
    max_bytes: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Bytes and last use by name.
    objects: HashMap<String, (u64, u64)>,
    bytes: u64,
    uses: u64,
}

impl ObjectCache {
    /// Takes over what an earlier process left in `dir`.
    pub fn open(dir: impl Into<PathBuf>, max_bytes: u64) -> io::Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let metadata = entry.metadata()?;
            if is_sha256(&name) {
                found.push((metadata.modified()?, name, metadata.len()));
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        found.sort();
        let mut held = Held::default();
        for (_, name, bytes) in found {
            held.insert(name, bytes);
        }
        let cache = Self {
            dir,
            max_bytes,
            held: Mutex::new(held),
        };
        cache.shrink();
        Ok(cache)
    }

    /// The object whose sha256 is `name`. One that is damaged on this disk is dropped.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Bytes> {
        let known = self.held().touch(name);
        if !known {
            return None;
        }
        let bytes = fs::read(self.dir.join(name)).ok().map(Bytes::from);
        let sound = bytes.filter(|bytes| sha256(bytes) == name);
        if sound.is_none() {
            self.forget(name);
        }
        sound
    }

    /// Keeps an object whose sha256 is `name`. Failing to is no failure.
    pub fn put(&self, name: &str, bytes: &Bytes) {
        if bytes.len() as u64 > self.max_bytes || !is_sha256(name) {
            return;
        }
        let staged = self.dir.join(format!("{name}.{}", std::process::id()));
        let written =
            fs::write(&staged, bytes).and_then(|()| fs::rename(&staged, self.dir.join(name)));
        if let Err(error) = written {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "object not cached"
            );
            let _ = fs::remove_file(&staged);
            return;
        }
        self.held().insert(name.to_owned(), bytes.len() as u64);
        self.shrink();
    }

    /// Bytes held now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.held().bytes
    }

    fn shrink(&self) {
        loop {
            // Not in a `while let`: the lock would be held through its body.
            let oldest = self.held().over(self.max_bytes);
            let Some(oldest) = oldest else { return };
            self.forget(&oldest);
        }
    }

    fn forget(&self, name: &str) {
        self.held().remove(name);
        let _ = fs::remove_file(Path::new(&self.dir).join(name));
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn insert(&mut self, name: String, bytes: u64) {
        self.remove(&name);
        self.uses += 1;
        self.bytes += bytes;
        self.objects.insert(name, (bytes, self.uses));
    }

    fn touch(&mut self, name: &str) -> bool {
        self.uses += 1;
        let uses = self.uses;
        let object = self.objects.get_mut(name);
        object.map(|(_, used)| *used = uses).is_some()
    }

    fn remove(&mut self, name: &str) {
        if let Some((bytes, _)) = self.objects.remove(name) {
            self.bytes -= bytes;
        }
    }

    /// The least recently used object while there are more than `max_bytes`.
    fn over(&self, max_bytes: u64) -> Option<String> {
        if self.bytes <= max_bytes {
            return None;
        }
        let oldest = self.objects.iter().min_by_key(|(_, (_, used))| *used);
        oldest.map(|(name, _)| name.clone())
    }
}

fn is_sha256(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn object(n: u8) -> (String, Bytes) {
        let bytes = Bytes::from(vec![n; 100]);
        (sha256(&bytes), bytes)
    }

    #[test]
    fn the_least_recently_used_object_goes_first() {
        let dir = TempDir::new().unwrap();
        let cache = ObjectCache::open(dir.path(), 250).unwrap();
        let [(a, a_bytes), (b, b_bytes), (c, c_bytes)] = [1, 2, 3].map(object);
        cache.put(&a, &a_bytes);
        cache.put(&b, &b_bytes);
        assert_eq!(cache.get(&a), Some(a_bytes.clone()));
        cache.put(&c, &c_bytes);

        assert_eq!(cache.get(&b), None);
        assert_eq!(cache.bytes(), 200);
        let reopened = ObjectCache::open(dir.path(), 250).unwrap();
        assert_eq!(reopened.get(&a), Some(a_bytes));
        assert_eq!(reopened.get(&c), Some(c_bytes));
    }

    #[test]
    fn an_object_that_is_damaged_on_disk_is_dropped() {
        let dir = TempDir::new().unwrap();
        let cache = ObjectCache::open(dir.path(), 1000).unwrap();
        let (name, bytes) = object(1);
        cache.put(&name, &bytes);
        fs::write(dir.path().join(&name), b"other").unwrap();

        assert_eq!(cache.get(&name), None);
        assert_eq!(cache.bytes(), 0);
    }
}
