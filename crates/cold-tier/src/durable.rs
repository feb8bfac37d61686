//! A local file store whose puts survive a power loss: every put is synced, then linked or renamed
//! into place, then its directory is synced. Everything else is `object_store`'s local file store.

use std::{
    fmt,
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    ops::Range,
    path::{Path as FilePath, PathBuf},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, local::LocalFileSystem, path::Path,
};

use crate::random::random;

/// The local file system as an object store with durable puts.
#[derive(Debug)]
pub(crate) struct DurableDisk {
    files: LocalFileSystem,
}

impl DurableDisk {
    /// Returns a store whose object paths are absolute file paths without the first slash.
    pub(crate) fn new() -> Self {
        let files = LocalFileSystem::new();
        Self { files }
    }
}

impl fmt::Display for DurableDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("local disk")
    }
}

#[async_trait]
impl ObjectStore for DurableDisk {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let create = match opts.mode {
            PutMode::Overwrite => false,
            PutMode::Create => true,
            PutMode::Update(_) => return self.files.put_opts(location, payload, opts).await,
        };
        let path = self.files.path_to_filesystem(location)?;
        let put = tokio::task::spawn_blocking(move || put(&path, &payload, create));
        let written = put.await.map_err(|error| generic(error.into()))?;
        written.map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => Error::AlreadyExists {
                path: location.to_string(),
                source: source.into(),
            },
            ErrorKind::PermissionDenied => Error::PermissionDenied {
                path: location.to_string(),
                source: source.into(),
            },
            _ => generic(source.into()),
        })?;
        Ok(PutResult {
            e_tag: None,
            version: None,
        })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.files.rename_opts(from, to, options).await
    }
}

fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Generic {
        store: "local disk",
        source,
    }
}

/// Writes `payload` to `path` durably. With `create` an existing file is an error: a hard link
/// fails where a rename would replace.
fn put(path: &FilePath, payload: &PutPayload, create: bool) -> io::Result<()> {
    let parent = path.parent().unwrap_or(FilePath::new("/"));
    create_dirs(parent)?;
    let staged = staged_name(path);
    let written = write_synced(&staged, payload).and_then(|()| {
        if create {
            fs::hard_link(&staged, path)
        } else {
            fs::rename(&staged, path)
        }
    });
    if create || written.is_err() {
        // A staged file that is left behind is never listed: its name ends in '#' and digits.
        let _ = fs::remove_file(&staged);
    }
    written?;
    File::open(parent)?.sync_all()
}

fn write_synced(path: &FilePath, payload: &PutPayload) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    for part in payload {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// A name beside `path` that the local file store never lists and no other writer uses.
fn staged_name(path: &FilePath) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("#{}", random()));
    name.into()
}

/// Creates missing directories and syncs the parent of each new one.
fn create_dirs(path: &FilePath) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(FilePath::new("/"));
    create_dirs(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => File::open(parent)?.sync_all(),
    }
}
