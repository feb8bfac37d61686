//! One key-value bucket, opened when it is first used and made when it is not there.

use async_nats::jetstream::{
    Context,
    kv::{Config, CreateErrorKind, Entry, Store},
};
use bytes::Bytes;
use futures::TryStreamExt as _;
use tokio::sync::OnceCell;

use crate::error::{Error, Result};

/// Create-only facts, for example the partition count.
pub(crate) const META: &str = "isotherm-meta";
/// The rules, the time scale and the services' acknowledgements.
pub(crate) const POLICY: &str = "isotherm-policy";
/// How far each tier is.
pub(crate) const WATERMARKS: &str = "isotherm-watermarks";

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

    /// Makes it, or gives it as many replicas as asked for.
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
                let made = self.jetstream.create_key_value(config(self.name, 1)).await;
                made.map_err(|error| Error::unavailable("open a bucket", error))
            })
            .await
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let got = self.store().await?.get(key).await;
        got.map_err(|error| Error::unavailable("read a key", error))
    }

    pub(crate) async fn put(&self, key: &str, value: impl Into<Bytes>) -> Result<()> {
        let put = self.store().await?.put(key, value.into()).await;
        put.map_err(|error| Error::unavailable("write a key", error))?;
        Ok(())
    }

    /// Whether the key was made; `false` when it is there already.
    pub(crate) async fn create(&self, key: &str, value: impl Into<Bytes>) -> Result<bool> {
        match self.store().await?.create(key, value.into()).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(Error::unavailable("create a key", error)),
        }
    }

    pub(crate) async fn keys(&self) -> Result<Vec<String>> {
        let keys = self.store().await?.keys().await;
        keys.map_err(|error| Error::unavailable("list keys", error))?
            .try_collect()
            .await
            .map_err(|error| Error::unavailable("list keys", error))
    }

    /// The current value of every key, then every change.
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
