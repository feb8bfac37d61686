//! The location of the cold tier: from an address and options to an object store.

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

/// For one request, from the first byte sent to the last received: an object of 128 MB needs 17
/// Mbit/s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// More than a name look-up and a TLS handshake take; a host that is down is noticed soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Retries of one request, for short disturbances; the services retry longer themselves.
const MAX_REQUEST_RETRIES: usize = 3;
/// For one request with its retries.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// Options for reaching an S3 service; the same flags in every program that does.
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

/// Options for opening the cold tier, besides its address.
#[derive(Clone, Debug, Default)]
pub struct ColdOptions {
    /// Used when the address is `s3://…`.
    pub s3: S3Options,
    /// A cache of downloaded objects; without it every read downloads.
    pub cache: Option<Arc<ObjectCache>>,
    /// The id of the store that the tables must belong to. A writer puts it into tables that have none;
    /// `None` accepts any.
    pub store: Option<String>,
    /// Longest wait for the store's next bytes of a read; after it no read is tried for a while. `None`
    /// waits as long as the client of the store does.
    pub stall_timeout: Option<Duration>,
    /// Most bytes of the objects that all reads have in memory at once, or of one object if that is larger;
    /// reads wait for it in turn. `None` is unlimited.
    pub object_memory: Option<u64>,
}

impl From<S3Options> for ColdOptions {
    fn from(s3: S3Options) -> Self {
        Self {
            s3,
            ..Self::default()
        }
    }
}

/// An object store and the folder of the cold tier in it.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) prefix: Path,
    /// The folder as a URL that ends in a slash.
    pub(crate) url: Url,
}

impl Location {
    /// Parses `s3://bucket/prefix`, `file:///dir` or a path.
    pub(crate) fn parse(address: &str, s3: &S3Options) -> Result<Self> {
        match Url::parse(address) {
            Ok(url) if url.scheme() == "s3" => bucket_location(url, s3),
            Ok(url) if url.scheme() == "file" => {
                let path = url.to_file_path();
                disk_location(path.map_err(|()| Error::Config(format!("{address}: not a path")))?)
            }
            Ok(url) if url.has_host() => Err(Error::Config(format!(
                "{address}: the cold tier lies at s3://bucket/prefix, file:///dir or a path"
            ))),
            _ => disk_location(PathBuf::from(address)),
        }
    }

    /// Checks what commits rely on: creating an object that exists must fail and change nothing.
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

fn disk_location(path: PathBuf) -> Result<Location> {
    let config_error = |error: &dyn std::fmt::Display| Error::Config(format!("cold tier: {error}"));
    let path = std::path::absolute(path).map_err(|error| config_error(&error))?;
    let prefix = Path::from_absolute_path(&path).map_err(|error| config_error(&error))?;
    let url = Url::from_directory_path(&path).map_err(|()| config_error(&path.display()))?;
    Ok(Location {
        store: Arc::new(DurableDisk::new()),
        prefix,
        url,
    })
}

fn bucket_location(mut url: Url, s3: &S3Options) -> Result<Location> {
    let name = url.host_str().map(str::to_owned);
    let name = name.ok_or_else(|| Error::Config(format!("{url}: no bucket")))?;
    let client = ClientOptions::new()
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_allow_http(s3.allow_http);
    // From the environment first: it has a pod's web identity or a session token.
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(name)
        .with_client_options(client)
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: MAX_REQUEST_RETRIES,
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
