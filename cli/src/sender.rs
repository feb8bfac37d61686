//! Sends batches of events to ingest: a batch is retried, byte for byte the same, until it is
//! acknowledged.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use reqwest::header::RETRY_AFTER;
use serde::Deserialize;

use crate::{
    client::{self, Client, NDJSON},
    output,
};

/// Maximum number of events in one request.
pub(crate) const BATCH_EVENTS: usize = 500;
/// Maximum size of one request in bytes; ingest accepts 16 MiB.
pub(crate) const BATCH_BYTES: usize = 4 * 1024 * 1024;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Client of ingest that retries transient errors with exponential backoff.
#[derive(Debug)]
pub(crate) struct Sender {
    client: Client,
    /// Time after which a batch is no longer retried; `None` retries for ever.
    retry_timeout: Option<Duration>,
    /// True until ingest has answered once: until then a refused connection is an error, because ingest
    /// was probably never started.
    fail_fast: AtomicBool,
}

/// The answer of ingest to a stored batch.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) acked: u64,
    #[serde(default)]
    pub(crate) duplicates: u64,
}

/// The result of one attempt; permanent errors are not among them.
enum SendOutcome {
    Stored(Receipt),
    /// A transient error, and the wait that ingest asks for.
    Retry(anyhow::Error, Option<Duration>),
}

impl Sender {
    pub(crate) fn new(client: Client, retry_timeout: Option<Duration>) -> Self {
        Self {
            client,
            retry_timeout,
            fail_fast: AtomicBool::new(false),
        }
    }

    /// Makes a refused connection an error as long as ingest has never answered; later ones are
    /// retried.
    pub(crate) fn fail_fast(self) -> Self {
        Self {
            fail_fast: AtomicBool::new(true),
            ..self
        }
    }

    /// Stores a batch of NDJSON lines, in their order. Each must have an id, so that a retry stores
    /// nothing twice.
    ///
    /// # Errors
    /// A permanent refusal by ingest, or the last transient error when the retry timeout has passed.
    pub(crate) async fn send(&self, lines: &[String]) -> anyhow::Result<Receipt> {
        let mut body = lines.join("\n").into_bytes();
        body.push(b'\n');
        let started = Instant::now();
        let mut delay = FIRST_DELAY;
        let mut warned = false;
        loop {
            let (error, wait) = match self.attempt(body.clone()).await? {
                SendOutcome::Stored(receipt) => {
                    if warned {
                        output::note("isotherm: stored again");
                    }
                    return Ok(receipt);
                }
                SendOutcome::Retry(error, wait) => (error, wait),
            };
            if self
                .retry_timeout
                .is_some_and(|timeout| started.elapsed() >= timeout)
            {
                return Err(error);
            }
            if !warned {
                output::note(&format!(
                    "isotherm: {error:#}; will try again until it is stored"
                ));
                warned = true;
            }
            tokio::time::sleep(wait.unwrap_or(delay).min(MAX_DELAY)).await;
            delay = (delay * 2).min(MAX_DELAY);
        }
    }

    async fn attempt(&self, body: Vec<u8>) -> anyhow::Result<SendOutcome> {
        let url = self.client.url(&["v1", "events"]);
        let request = self.client.post(url, NDJSON, body).timeout(REQUEST_TIMEOUT);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                let is_absent = error.is_connect() && !error.is_timeout();
                let error = self.client.unreachable(&error);
                return match is_absent && self.fail_fast.load(Ordering::Relaxed) {
                    true => Err(error),
                    false => Ok(SendOutcome::Retry(error, None)),
                };
            }
        };
        self.fail_fast.store(false, Ordering::Relaxed);
        let status = response.status();
        if client::is_transient(status) {
            let wait = response.headers().get(RETRY_AFTER);
            let wait = wait.and_then(|value| value.to_str().ok()?.parse().ok());
            let error = client::refusal("ingest", response).await;
            return Ok(SendOutcome::Retry(error, wait.map(Duration::from_secs)));
        }
        if !status.is_success() {
            return Err(client::refusal("ingest", response).await);
        }
        match response.bytes().await {
            Ok(body) => {
                let receipt =
                    serde_json::from_slice(&body).context("read the receipt of ingest")?;
                Ok(SendOutcome::Stored(receipt))
            }
            // Stored or not, the same ids may be sent again.
            Err(error) => Ok(SendOutcome::Retry(self.client.unreachable(&error), None)),
        }
    }
}

/// Cuts `lines` into requests, in order. Deterministic: equal lines are cut in the same places.
pub(crate) fn batches(lines: &[String]) -> Vec<&[String]> {
    let mut batches = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (index, line) in lines.iter().enumerate() {
        let full = index - from == BATCH_EVENTS || bytes + line.len() > BATCH_BYTES;
        if full && index > from {
            batches.push(&lines[from..index]);
            (from, bytes) = (index, 0);
        }
        bytes += line.len() + 1;
    }
    if from < lines.len() {
        batches.push(&lines[from..]);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_all_lines_within_both_limits() {
        let lines: Vec<String> = (0..1203).map(|n| "x".repeat(n * 20)).collect();
        let batches = batches(&lines);
        assert_eq!(batches.concat(), lines);
        for batch in batches {
            assert!(batch.len() <= BATCH_EVENTS);
            assert!(batch.iter().map(String::len).sum::<usize>() <= BATCH_BYTES);
        }
    }

    #[test]
    fn one_line_over_the_limit_goes_alone() {
        let lines = ["a".to_owned(), "b".repeat(BATCH_BYTES + 1), "c".to_owned()];
        assert_eq!(batches(&lines).len(), 3);
    }
}
