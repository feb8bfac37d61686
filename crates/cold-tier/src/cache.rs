//! A content-addressed cache of objects on the local disk. Every read is checked against the
//! object's hash; the least recently used objects are evicted first. The directory may be deleted
//! at any time.

use std::{
    collections::HashMap,
    fs, io,
    path::PathBuf,
    sync::{Mutex, MutexGuard},
};

use bytes::Bytes;

use crate::hash::sha256;

/// A cache of objects in one local directory, bounded in bytes.
#[derive(Debug)]
pub struct ObjectCache {
    dir: PathBuf,
    max_bytes: u64,
    index: Mutex<CacheIndex>,
}

/// The cached objects in memory: their sizes and when each was last used.
#[derive(Debug, Default)]
struct CacheIndex {
    objects: HashMap<String, CachedObject>,
    total_bytes: u64,
    /// Counts insertions and lookups; the clock of `last_use`.
    use_counter: u64,
}

#[derive(Debug)]
struct CachedObject {
    bytes: u64,
    last_use: u64,
}

impl ObjectCache {
    /// Opens the cache in `dir` with at most `max_bytes` bytes. Objects of an earlier process are
    /// kept, the oldest first to be evicted; every other file in `dir` is deleted.
    ///
    /// # Errors
    /// When the directory cannot be created, listed or cleaned; correct the path or its
    /// permissions.
    pub fn open(dir: impl Into<PathBuf>, max_bytes: u64) -> io::Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
        let mut objects = Vec::new();
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let metadata = entry.metadata()?;
            if is_sha256(&name) {
                objects.push((metadata.modified()?, name, metadata.len()));
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        objects.sort();
        let mut index = CacheIndex::default();
        for (_, name, bytes) in objects {
            index.insert(name, bytes);
        }
        let cache = Self {
            dir,
            max_bytes,
            index: Mutex::new(index),
        };
        cache.evict_over_limit();
        Ok(cache)
    }

    /// Returns the object whose SHA-256 is `name`. An object that is damaged on this disk is
    /// evicted and counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Bytes> {
        let is_cached = self.index().touch(name);
        if !is_cached {
            return None;
        }
        let bytes = fs::read(self.dir.join(name)).ok().map(Bytes::from);
        let verified = bytes.filter(|bytes| sha256(bytes) == name);
        if verified.is_none() {
            self.evict(name);
        }
        verified
    }

    /// Caches an object whose SHA-256 is `name`. A failure is logged and otherwise ignored: the
    /// object is downloaded again when it is needed.
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
                "failed to cache object"
            );
            let _ = fs::remove_file(&staged);
            return;
        }
        self.index().insert(name.to_owned(), bytes.len() as u64);
        self.evict_over_limit();
    }

    /// Returns the bytes of all cached objects.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.index().total_bytes
    }

    fn evict_over_limit(&self) {
        loop {
            // Not in a `while let`: the lock would be held through its body.
            let candidate = self.index().eviction_candidate(self.max_bytes);
            let Some(candidate) = candidate else { return };
            self.evict(&candidate);
        }
    }

    fn evict(&self, name: &str) {
        self.index().remove(name);
        let _ = fs::remove_file(self.dir.join(name));
    }

    fn index(&self) -> MutexGuard<'_, CacheIndex> {
        self.index.lock().unwrap_or_else(|error| error.into_inner())
    }
}

impl CacheIndex {
    fn insert(&mut self, name: String, bytes: u64) {
        self.remove(&name);
        self.use_counter += 1;
        self.total_bytes += bytes;
        let last_use = self.use_counter;
        self.objects.insert(name, CachedObject { bytes, last_use });
    }

    /// Records a use of `name`; `false` when it is not cached.
    fn touch(&mut self, name: &str) -> bool {
        self.use_counter += 1;
        let now = self.use_counter;
        let object = self.objects.get_mut(name);
        object.map(|object| object.last_use = now).is_some()
    }

    fn remove(&mut self, name: &str) {
        if let Some(object) = self.objects.remove(name) {
            self.total_bytes -= object.bytes;
        }
    }

    /// The least recently used object while the total exceeds `max_bytes`.
    fn eviction_candidate(&self, max_bytes: u64) -> Option<String> {
        if self.total_bytes <= max_bytes {
            return None;
        }
        let oldest = self
            .objects
            .iter()
            .min_by_key(|(_, object)| object.last_use);
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
    fn the_least_recently_used_object_is_evicted_first() {
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
    fn an_object_that_is_damaged_on_disk_is_evicted() {
        let dir = TempDir::new().unwrap();
        let cache = ObjectCache::open(dir.path(), 1000).unwrap();
        let (name, bytes) = object(1);
        cache.put(&name, &bytes);
        fs::write(dir.path().join(&name), b"other").unwrap();

        assert_eq!(cache.get(&name), None);
        assert_eq!(cache.bytes(), 0);
    }
}
