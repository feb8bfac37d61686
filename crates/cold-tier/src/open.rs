//! From an address to a store that can hold the cold tier.

use std::{path::PathBuf, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
    RetryConfig, aws::AmazonS3Builder, path::Path,
};
use url::Url;

use crate::{
    cache::ObjectCache,
    durable::DurableDisk,
    error::{Error, Result},
};

/// One request, from the first byte sent to the last received.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The caller has its own patience; this bridges a blip.
const RETRIES: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// How to reach an S3. Flags of every program that does.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct S3Options {
    /// An S3 service that is not Amazon's, as http://127.0.0.1:9000.
    #[arg(long = "s3-endpoint", env = "AWS_ENDPOINT_URL")]
    pub endpoint: Option<String>,
    #[arg(
        long = "s3-access-key",
        env = "AWS_ACCESS_KEY_ID",
        hide_env_values = true
    )]
    pub access_key: Option<String>,
    #[arg(
        long = "s3-secret-key",
        env = "AWS_SECRET_ACCESS_KEY",
        hide_env_values = true
    )]
    pub secret_key: Option<String>,
    #[arg(long = "s3-region", env = "AWS_REGION")]
    pub region: Option<String>,
    /// Allow an endpoint without TLS.
    #[arg(long = "s3-allow-http", env = "AWS_ALLOW_HTTP")]
    pub allow_http: bool,
}

/// Everything but the address.
#[derive(Clone, Debug, Default)]
pub struct ColdOptions {
    pub s3: S3Options,
    /// Where downloaded objects are kept; without it every read downloads.
    pub cache: Option<Arc<ObjectCache>>,
}

impl From<S3Options> for ColdOptions {
    fn from(s3: S3Options) -> Self {
        Self { s3, cache: None }
    }
}

/// A store, where in it the cold tier lies, and what that place is called.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) prefix: Path,
    /// Ends in a slash.
    pub(crate) url: Url,
}

impl Location {
    /// `s3://bucket/prefix`, `file:///dir` or a path.
    pub(crate) fn parse(address: &str, s3: &S3Options) -> Result<Self> {
        match Url::parse(address) {
            Ok(url) if url.scheme() == "s3" => bucket(url, s3),
            Ok(url) if url.scheme() == "file" => {
                let path = url.to_file_path();
                disk(path.map_err(|()| Error::Config(format!("{address}: not a path")))?)
            }
            Ok(url) if url.has_host() => Err(Error::Config(format!(
                "{address}: the cold tier lies at s3://bucket/prefix, file:///dir or a path"
            ))),
            _ => disk(PathBuf::from(address)),
        }
    }

    /// Whether commits can rely on this store: of two creations of one object the second must fail.
    pub(crate) async fn self_test(&self) -> Result<()> {
        let probe = self.prefix.clone().join("_isotherm").join("probe");
        let create = || PutOptions::from(PutMode::Create);
        match self.store.put_opts(&probe, "probe".into(), create()).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match self.store.put_opts(&probe, "again".into(), create()).await {
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => {
                return Err(Error::Unfit(
                    "it ignores If-None-Match, so two writers could replace each other's commits"
                        .to_owned(),
                ));
            }
        }
        let read = self.store.get(&probe).await?.bytes().await?;
        if read != "probe" {
            return Err(Error::Unfit("it returned other bytes than were put".into()));
        }
        Ok(())
    }
}

fn disk(path: PathBuf) -> Result<Location> {
    let refuse = |error: &dyn std::fmt::Display| Error::Config(format!("cold tier: {error}"));
    let path = std::path::absolute(path).map_err(|error| refuse(&error))?;
    let prefix = Path::from_absolute_path(&path).map_err(|error| refuse(&error))?;
    let url = Url::from_directory_path(&path).map_err(|()| refuse(&path.display()))?;
    Ok(Location {
        store: Arc::new(DurableDisk::new()),
        prefix,
        url,
    })
}

fn bucket(mut url: Url, s3: &S3Options) -> Result<Location> {
    let name = url.host_str().map(str::to_owned);
    let name = name.ok_or_else(|| Error::Config(format!("{url}: no bucket")))?;
    let client = ClientOptions::new()
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_allow_http(s3.allow_http);
    // From the environment first: a pod's web identity or a session token comes that way.
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(name)
        .with_client_options(client)
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: RETRIES,
            retry_timeout: RETRY_TIMEOUT,
        });
    if let Some(region) = &s3.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &s3.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    if let (Some(key), Some(secret)) = (&s3.access_key, &s3.secret_key) {
        builder = builder
            .with_access_key_id(key)
            .with_secret_access_key(secret);
    }
    let store = builder.build().map_err(Error::Refused)?;
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    let prefix = Path::from_url_path(url.path())
        .map_err(|error| Error::Config(format!("{url}: {error}")))?;
    Ok(Location {
        store: Arc::new(store),
        prefix,
        url,
    })
}
