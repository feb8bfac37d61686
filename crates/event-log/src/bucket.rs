//! A key-value bucket, opened at its first use and created if it does not exist.

use async_nats::jetstream::{
    Context,
    kv::{Config, CreateErrorKind, Entry, Store},
};
use bytes::Bytes;
use futures::TryStreamExt as _;
use tokio::sync::OnceCell;

use crate::error::{Error, Result};

/// The bucket of facts that are created once and never changed, for example the partition count.
pub(crate) const META_BUCKET: &str = "isotherm-meta";
/// The bucket of the rules, the time scale and the services' acknowledgements.
pub(crate) const POLICY_BUCKET: &str = "isotherm-policy";
/// The bucket of the watermarks, one key per tier and partition.
pub(crate) const WATERMARK_BUCKET: &str = "isotherm-watermarks";
/// The bucket of the open gaps, one key per partition, and of the accepted ones, one key each.
pub(crate) const GAP_BUCKET: &str = "isotherm-gaps";
/// The bucket of the closed dead letters, one key each.
pub(crate) const CLOSED_BUCKET: &str = "isotherm-dlq-closed";

/// A handle of one bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    jetstream: Context,
    name: &'static str,
    store: OnceCell<Store>,
}

impl Bucket {
    pub(crate) fn new(jetstream: Context, name: &'static str) -> Self {
        Self {
            jetstream,
            name,
            store: OnceCell::new(),
        }
    }

    /// Creates the bucket, or sets the replicas of the existing one.
    pub(crate) async fn ensure(&self, replicas: usize) -> Result<()> {
        self.jetstream
            .create_or_update_key_value(config(self.name, replicas))
            .await
            .map_err(|error| Error::setup("create a bucket", error))?;
        Ok(())
    }

    async fn store(&self) -> Result<&Store> {
        self.store
            .get_or_try_init(async || {
                if let Ok(store) = self.jetstream.get_key_value(self.name).await {
                    return Ok(store);
                }
                let created = self.jetstream.create_key_value(config(self.name, 1)).await;
                created.map_err(|error| Error::unavailable("open a bucket", error))
            })
            .await
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let value = self.store().await?.get(key).await;
        value.map_err(|error| Error::unavailable("read a key", error))
    }

    pub(crate) async fn put(&self, key: &str, value: impl Into<Bytes>) -> Result<()> {
        let put = self.store().await?.put(key, value.into()).await;
        put.map_err(|error| Error::unavailable("write a key", error))?;
        Ok(())
    }

    /// Creates `key`; returns false if it exists already, with whatever value.
    pub(crate) async fn create(&self, key: &str, value: impl Into<Bytes>) -> Result<bool> {
        match self.store().await?.create(key, value.into()).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(Error::unavailable("create a key", error)),
        }
    }

    /// Removes `key` and leaves no trace of it; a watch does not yield it.
    pub(crate) async fn remove(&self, key: &str) -> Result<()> {
        let store = self.store().await?;
        let subject = format!("{}{key}", store.prefix);
        let purged = store.stream.purge().filter(subject).await;
        purged.map_err(|error| Error::unavailable("remove a key", error))?;
        Ok(())
    }

    pub(crate) async fn keys(&self) -> Result<Vec<String>> {
        let keys = self.store().await?.keys().await;
        keys.map_err(|error| Error::unavailable("list keys", error))?
            .try_collect()
            .await
            .map_err(|error| Error::unavailable("list keys", error))
    }

    /// Streams the current value of every key, then every change.
    pub(crate) async fn watch(
        &self,
    ) -> Result<impl futures::Stream<Item = Result<Entry>> + Send + Unpin + use<>> {
        let watch = self.store().await?.watch_with_history(">").await;
        Ok(watch
            .map_err(|error| Error::unavailable("watch a bucket", error))?
            .map_err(|error| Error::unavailable("watch a bucket", error)))
    }
}

fn config(name: &str, replicas: usize) -> Config {
    Config {
        bucket: name.to_owned(),
        history: 1,
        num_replicas: replicas,
        ..Config::default()
    }
}
