//! The connection to NATS.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions, Event,
    connection::State,
    jetstream::{self, Context},
};
use tokio::{sync::watch, time::Instant};
use tracing::warn;

use crate::{
    bucket::{Bucket, CLOSED_BUCKET, GAP_BUCKET, META_BUCKET, POLICY_BUCKET, WATERMARK_BUCKET},
    clock::LogClock,
    error::{Error, Result},
    seen_log::SeenLogs,
};

/// The timeout of one request or acknowledgement.
pub(crate) const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest number of unacknowledged appends of a connection. A stream of the server drops messages
/// beyond 10,000 waiting, from all publishers together.
const MAX_IN_FLIGHT: usize = 1024;
/// The time within which [`EventLog::connect`] must succeed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// A connection to the event log. Cheap to clone; reconnects by itself without limit.
#[derive(Clone, Debug)]
pub struct EventLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    jetstream: Context,
    /// How often the connection was lost.
    losses: Arc<watch::Sender<u64>>,
    seen_logs: SeenLogs,
    clock: LogClock,
    meta: Bucket,
    policy: Bucket,
    watermarks: Bucket,
    gaps: Bucket,
    closed: Bucket,
}

impl EventLog {
    /// Connects with `name` as the connection's name; retries for 30 s.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the server did not answer in that time: retry.
    pub async fn connect(url: &str, name: &str) -> Result<Self> {
        Self::connect_within(url, name, CONNECT_TIMEOUT).await
    }

    /// Connects with `name` as the connection's name; retries until `limit` has passed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the server did not answer in that time: retry.
    pub async fn connect_within(url: &str, name: &str, limit: Duration) -> Result<Self> {
        let deadline = Instant::now() + limit;
        let losses = Arc::new(watch::Sender::default());
        let client = loop {
            let error = match options(name, &losses).connect(url).await {
                Ok(client) => break client,
                Err(error) => error,
            };
            if Instant::now() >= deadline {
                return Err(Error::unavailable("connect to nats", error));
            }
            warn!(
                error = &error as &dyn std::error::Error,
                "connect failed, will retry"
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
            losses,
            seen_logs: SeenLogs::default(),
            clock: LogClock::default(),
            meta: bucket(META_BUCKET),
            policy: bucket(POLICY_BUCKET),
            watermarks: bucket(WATERMARK_BUCKET),
            gaps: bucket(GAP_BUCKET),
            closed: bucket(CLOSED_BUCKET),
            jetstream,
        })))
    }

    /// Returns true if the connection is up now; for readiness checks.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.client.connection_state() == State::Connected
    }

    pub(crate) fn jetstream(&self) -> &Context {
        &self.0.jetstream
    }

    /// The number of the connection, counted from 1; it rises with each reconnect.
    #[must_use]
    pub fn connection(&self) -> u64 {
        let statistics = self.0.client.statistics();
        statistics.connects.load(Ordering::Acquire)
    }

    /// Tells of each loss of the connection from now on.
    pub(crate) fn losses(&self) -> watch::Receiver<u64> {
        self.0.losses.subscribe()
    }

    /// Waits for the answer of `request`, which does not come any more when the connection was lost.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with `what` was to be done: retry.
    pub(crate) async fn answer<T, E>(
        &self,
        what: &'static str,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match unless_lost(&mut self.losses(), request).await {
            Some(answer) => answer.map_err(|error| Error::unavailable(what, error)),
            None => Err(Error::unavailable(what, "the connection was lost")),
        }
    }

    pub(crate) fn seen_logs(&self) -> &SeenLogs {
        &self.0.seen_logs
    }

    pub(crate) fn clock(&self) -> &LogClock {
        &self.0.clock
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

    pub(crate) fn gap_bucket(&self) -> &Bucket {
        &self.0.gaps
    }

    pub(crate) fn closed_bucket(&self) -> &Bucket {
        &self.0.closed
    }
}

/// Waits for `answer`; `None` if the connection was lost, and the answer with it.
pub(crate) async fn unless_lost<T>(
    losses: &mut watch::Receiver<u64>,
    answer: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        answer = answer => Some(answer),
        _lost = losses.changed() => None,
    }
}

fn options(name: &str, losses: &Arc<watch::Sender<u64>>) -> ConnectOptions {
    let losses = Arc::clone(losses);
    ConnectOptions::new()
        .event_callback(move |event| {
            if matches!(event, Event::Disconnected) {
                losses.send_modify(|lost| *lost += 1);
            }
            std::future::ready(())
        })
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
