//! Posts and reads events through the Services.

use std::{collections::BTreeSet, time::Duration};

use reqwest::StatusCode;
use serde_json::Value;
use testkit::eventually_within;

use crate::world::{RELEASE, WAIT_TIMEOUT};

#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    ingest: String,
    query: String,
}

/// The answer to reading one conversation.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) ids: Vec<String>,
    pub(crate) tiers: BTreeSet<String>,
    pub(crate) complete: bool,
}

impl Client {
    pub(crate) fn new(proxy: &str, namespace: &str) -> Self {
        // An error means that another scenario has installed it already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let service = |name: &str| {
            format!("{proxy}/api/v1/namespaces/{namespace}/services/{RELEASE}-{name}:http/proxy")
        };
        Self {
            http: reqwest::Client::builder()
                .timeout(Duration::from_secs(20))
                .no_proxy()
                .build()
                .unwrap(),
            ingest: service("ingest"),
            query: service("query"),
        }
    }

    /// Posts `lines`, with retries, until they are acknowledged.
    pub(crate) async fn post(&self, lines: &[String]) {
        eventually_within(WAIT_TIMEOUT, "a batch is acknowledged", async || {
            self.try_post(lines).await
        })
        .await;
    }

    /// Posts `lines` once; returns whether they were acknowledged. Panics when they are invalid.
    pub(crate) async fn try_post(&self, lines: &[String]) -> bool {
        let request = self.http.post(format!("{}/v1/events", self.ingest));
        let request = request.header("content-type", "application/x-ndjson");
        match request.body(lines.join("\n")).send().await {
            Ok(answer) if answer.status().is_success() => true,
            Ok(answer) if is_permanent(answer.status()) => {
                panic!("{}: {}", answer.status(), answer.text().await.unwrap())
            }
            _ => false,
        }
    }

    /// Reads a conversation; `None` when there is no successful answer.
    pub(crate) async fn read(&self, conversation: &str) -> Option<Answer> {
        let url = format!(
            "{}/v1/conversations/{conversation}/events?order=asc&limit=10000",
            self.query
        );
        let request = self.http.get(url).header("accept", "application/x-ndjson");
        let answer = request.send().await.ok()?.error_for_status().ok()?;
        let header = |name: &str| {
            let value = answer.headers().get(name);
            value
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        let (tiers, complete) = (header("isotherm-tiers"), header("isotherm-complete"));
        let body = answer.text().await.ok()?;
        let id = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap();
            event["event_id"].as_str().unwrap().to_owned()
        };
        Some(Answer {
            ids: body.lines().map(id).collect(),
            tiers: tiers
                .split(',')
                .map(|tier| tier.trim().to_owned())
                .collect(),
            complete: complete == "true",
        })
    }

    /// Waits until SQL counts exactly `events` events of the conversation.
    pub(crate) async fn until_counted(&self, conversation: &str, events: usize) {
        let count = format!("SELECT count(*) FROM events WHERE conversation_id = '{conversation}'");
        let wanted = serde_json::json!([[events]]);
        let what = format!("SQL counts {events} events of {conversation}");
        eventually_within(WAIT_TIMEOUT, &what, async || {
            let request = self.http.post(format!("{}/v1/sql", self.query));
            let Ok(answer) = request.body(count.clone()).send().await else {
                return false;
            };
            let answer: Value = answer.json().await.unwrap_or_default();
            answer["rows"] == wanted
        })
        .await;
    }

    /// Waits until the warm tier has sealed the whole log, so that it can be archived.
    pub(crate) async fn until_sealed(&self) {
        eventually_within(WAIT_TIMEOUT, "everything is sealed", async || {
            let request = self.http.get(format!("{}/v1/watermarks", self.query));
            let Ok(answer) = request.send().await else {
                return false;
            };
            let watermarks: Value = answer.json().await.unwrap_or_default();
            let mut partitions = watermarks["partitions"].as_array().into_iter().flatten();
            partitions.all(|own| own["warm"]["sealed"] == own["log"]["last"])
                && watermarks["partitions"].is_array()
        })
        .await;
    }

    /// Waits until the conversation is answered completely and from exactly these tiers.
    pub(crate) async fn until_answered_from(&self, conversation: &str, tiers: &[&str]) -> Answer {
        let mut last = None;
        let wanted: BTreeSet<_> = tiers.iter().map(ToString::to_string).collect();
        eventually_within(
            WAIT_TIMEOUT,
            &format!("{conversation} comes from {tiers:?}"),
            async || {
                last = self.read(conversation).await;
                last.as_ref()
                    .is_some_and(|answer| answer.complete && answer.tiers == wanted)
            },
        )
        .await;
        last.unwrap()
    }

    /// Waits until the conversation is answered completely and has no events.
    pub(crate) async fn until_nothing_is_left(&self, conversation: &str) {
        eventually_within(
            WAIT_TIMEOUT,
            &format!("{conversation} has no events"),
            async || {
                let answer = self.read(conversation).await;
                answer.is_some_and(|answer| answer.complete && answer.ids.is_empty())
            },
        )
        .await;
    }

    /// Waits until the conversation is answered completely, and asserts that it has exactly these
    /// events in order.
    pub(crate) async fn assert_returns_exactly(&self, conversation: &str, ids: &[String]) {
        let mut returned = Vec::new();
        eventually_within(
            WAIT_TIMEOUT,
            &format!("{conversation} is complete"),
            async || match self.read(conversation).await {
                Some(answer) if answer.complete => {
                    returned = answer.ids;
                    true
                }
                _ => false,
            },
        )
        .await;
        assert_eq!(returned, ids, "{conversation}");
    }
}

/// Whether a retry cannot succeed, because the request itself is wrong.
fn is_permanent(status: StatusCode) -> bool {
    let transient = [StatusCode::TOO_MANY_REQUESTS, StatusCode::NOT_FOUND];
    status.is_client_error() && !transient.contains(&status)
}
