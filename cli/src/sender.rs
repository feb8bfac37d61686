//! Events on their way to ingest: the same bytes again and again until they are acknowledged.

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

/// Most events in one request.
pub(crate) const BATCH_EVENTS: usize = 500;
/// Most bytes in one request; ingest takes 16 MiB.
pub(crate) const BATCH_BYTES: usize = 4 * 1024 * 1024;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(5);
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Sender {
    client: Client,
    /// How long to try again; `None` is until it works.
    patience: Option<Duration>,
    /// Whether an ingest that is not there at all is an error: nobody was ever there.
    is_eager: AtomicBool,
}

/// What ingest says of a stored batch.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) acked: u64,
    #[serde(default)]
    pub(crate) duplicates: u64,
}

enum Outcome {
    Stored(Receipt),
    /// Why, and how long ingest asks us to wait.
    Later(anyhow::Error, Option<Duration>),
}

impl Sender {
    pub(crate) fn new(client: Client, patience: Option<Duration>) -> Self {
        Self {
            client,
            patience,
            is_eager: AtomicBool::new(false),
        }
    }

    /// Fails at once when the first contact finds nobody; later ones are tried again.
    pub(crate) fn eager(self) -> Self {
        Self {
            is_eager: AtomicBool::new(true),
            ..self
        }
    }

    /// Stores a batch of NDJSON lines, each with an id of its own, in their order.
    pub(crate) async fn send(&self, lines: &[String]) -> anyhow::Result<Receipt> {
        let mut body = lines.join("\n").into_bytes();
        body.push(b'\n');
        let started = Instant::now();
        let mut delay = FIRST_DELAY;
        let mut complained = false;
        loop {
            let (error, wait) = match self.attempt(body.clone()).await? {
                Outcome::Stored(receipt) => {
                    if complained {
                        output::note("isotherm: stored again");
                    }
                    return Ok(receipt);
                }
                Outcome::Later(error, wait) => (error, wait),
            };
            if self
                .patience
                .is_some_and(|patience| started.elapsed() >= patience)
            {
                return Err(error);
            }
            if !complained {
                output::note(&format!(
                    "isotherm: {error:#}; will try again until it is stored"
                ));
                complained = true;
            }
            tokio::time::sleep(wait.unwrap_or(delay).min(MAX_DELAY)).await;
            delay = (delay * 2).min(MAX_DELAY);
        }
    }

    async fn attempt(&self, body: Vec<u8>) -> anyhow::Result<Outcome> {
        let url = self.client.url(&["v1", "events"]);
        let request = self.client.post(url, NDJSON, body).timeout(REQUEST_LIMIT);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                let is_absent = error.is_connect() && !error.is_timeout();
                let error = self.client.unreachable(&error);
                return match is_absent && self.is_eager.load(Ordering::Relaxed) {
                    true => Err(error),
                    false => Ok(Outcome::Later(error, None)),
                };
            }
        };
        self.is_eager.store(false, Ordering::Relaxed);
        let status = response.status();
        if client::is_transient(status) {
            let wait = response.headers().get(RETRY_AFTER);
            let wait = wait.and_then(|value| value.to_str().ok()?.parse().ok());
            let error = client::refusal("ingest", response).await;
            return Ok(Outcome::Later(error, wait.map(Duration::from_secs)));
        }
        if !status.is_success() {
            return Err(client::refusal("ingest", response).await);
        }
        match response.bytes().await {
            Ok(body) => {
                let receipt =
                    serde_json::from_slice(&body).context("read the receipt of ingest")?;
                Ok(Outcome::Stored(receipt))
            }
            // Stored or not, the same ids may be sent again.
            Err(error) => Ok(Outcome::Later(self.client.unreachable(&error), None)),
        }
    }
}

/// Cuts `lines` into requests: in order, and the same for the same lines.
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
