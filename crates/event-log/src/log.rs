//! The connection.

use std::{sync::Arc, time::Duration};

use async_nats::{
    Client, ConnectOptions,
    connection::State,
    jetstream::{self, Context},
};
use tokio::time::Instant;
use tracing::warn;

use crate::{
    append::Acknowledged,
    bucket::{Bucket, META, POLICY, WATERMARKS},
    error::{Error, Result},
};

/// How long one request or acknowledgement may take.
pub(crate) const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// A stream of the server drops messages beyond 10,000 waiting, over all publishers.
const MAX_IN_FLIGHT: usize = 1024;
/// How long [`EventLog::connect`] tries.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
const MAX_RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// A connection to the event log. Cheap to clone; it reconnects by itself for ever.
#[derive(Clone, Debug)]
pub struct EventLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    jetstream: Context,
    acknowledged: Acknowledged,
    meta: Bucket,
    policy: Bucket,
    watermarks: Bucket,
}

impl EventLog {
    /// Connects as `name`; tries for half a minute.
    pub async fn connect(url: &str, name: &str) -> Result<Self> {
        Self::connect_within(url, name, CONNECT_LIMIT).await
    }

    /// Connects as `name`; gives up after `limit`.
    pub async fn connect_within(url: &str, name: &str, limit: Duration) -> Result<Self> {
        let deadline = Instant::now() + limit;
        let client = loop {
            let error = match options(name).connect(url).await {
                Ok(client) => break client,
                Err(error) => error,
            };
            if Instant::now() >= deadline {
                return Err(Error::unavailable("connect to nats", error));
            }
            warn!(
                error = &error as &dyn std::error::Error,
                "will connect again"
            );
            tokio::time::sleep(MAX_RECONNECT_DELAY).await;
        };
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(ACK_TIMEOUT)
            .ack_timeout(ACK_TIMEOUT)
            .max_ack_inflight(MAX_IN_FLIGHT)
            .backpressure_on_inflight(true)
            .build(client.clone());
        let bucket = |name| Bucket::new(jetstream.clone(), name);
        Ok(Self(Arc::new(Inner {
            client,
            acknowledged: Acknowledged::default(),
            meta: bucket(META),
            policy: bucket(POLICY),
            watermarks: bucket(WATERMARKS),
            jetstream,
        })))
    }

    /// Whether the connection stands at this moment: for a readiness check.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.client.connection_state() == State::Connected
    }

    pub(crate) fn jetstream(&self) -> &Context {
        &self.0.jetstream
    }

    pub(crate) fn acknowledged(&self) -> &Acknowledged {
        &self.0.acknowledged
    }

    pub(crate) fn meta(&self) -> &Bucket {
        &self.0.meta
    }

    pub(crate) fn policy_bucket(&self) -> &Bucket {
        &self.0.policy
    }

    pub(crate) fn watermark_bucket(&self) -> &Bucket {
        &self.0.watermarks
    }
}

fn options(name: &str) -> ConnectOptions {
    ConnectOptions::new()
        .name(name)
        .connection_timeout(Duration::from_secs(5))
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(|attempt| {
            let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
            Duration::from_millis(20)
                .saturating_mul(attempt)
                .min(MAX_RECONNECT_DELAY)
        })
}
