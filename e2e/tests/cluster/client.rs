//! Events in and out through the Services.

use std::{collections::BTreeSet, time::Duration};

use reqwest::StatusCode;
use serde_json::Value;
use testkit::eventually_within;

use crate::world::{LONG, RELEASE};

#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    ingest: String,
    query: String,
}

/// An answer over one conversation.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) ids: Vec<String>,
    pub(crate) tiers: BTreeSet<String>,
    pub(crate) complete: bool,
}

impl Client {
    pub(crate) fn new(proxy: &str, namespace: &str) -> Self {
        // Failing means that another scenario was first.
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

    /// Posts `lines` again and again until they are acknowledged.
    pub(crate) async fn post(&self, lines: &[String]) {
        eventually_within(LONG, "a batch is acknowledged", async || {
            self.try_post(lines).await
        })
        .await;
    }

    /// Whether it was acknowledged. A refusal is our own mistake.
    pub(crate) async fn try_post(&self, lines: &[String]) -> bool {
        let request = self.http.post(format!("{}/v1/events", self.ingest));
        let request = request.header("content-type", "application/x-ndjson");
        match request.body(lines.join("\n")).send().await {
            Ok(answer) if answer.status().is_success() => true,
            Ok(answer) if is_refusal(answer.status()) => {
                panic!("{}: {}", answer.status(), answer.text().await.unwrap())
            }
            _ => false,
        }
    }

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

    /// Waits until the warm tier has sealed all of the log, so that it can be archived.
    pub(crate) async fn until_sealed(&self) {
        eventually_within(LONG, "everything is sealed", async || {
            let request = self.http.get(format!("{}/v1/watermarks", self.query));
            let Ok(answer) = request.send().await else {
                return false;
            };
            let marks: Value = answer.json().await.unwrap_or_default();
            let mut partitions = marks["partitions"].as_array().into_iter().flatten();
            partitions.all(|mark| mark["warm"]["sealed"] == mark["log"]["last"])
                && marks["partitions"].is_array()
        })
        .await;
    }

    /// Waits until the conversation is answered completely, and from exactly these tiers.
    pub(crate) async fn until_from(&self, conversation: &str, tiers: &[&str]) -> Answer {
        let mut seen = None;
        let wanted: BTreeSet<_> = tiers.iter().map(ToString::to_string).collect();
        eventually_within(
            LONG,
            &format!("{conversation} comes from {tiers:?}"),
            async || {
                seen = self.read(conversation).await;
                seen.as_ref()
                    .is_some_and(|answer| answer.complete && answer.tiers == wanted)
            },
        )
        .await;
        seen.unwrap()
    }

    /// Waits until nothing is left of the conversation.
    pub(crate) async fn until_gone(&self, conversation: &str) {
        eventually_within(LONG, &format!("{conversation} is gone"), async || {
            let answer = self.read(conversation).await;
            answer.is_some_and(|answer| answer.complete && answer.ids.is_empty())
        })
        .await;
    }

    /// Waits until the conversation is answered completely; then it has just these events, in order.
    pub(crate) async fn assert_holds(&self, conversation: &str, ids: &[String]) {
        let mut seen = Vec::new();
        eventually_within(
            LONG,
            &format!("{conversation} is complete"),
            async || match self.read(conversation).await {
                Some(answer) if answer.complete => {
                    seen = answer.ids;
                    true
                }
                _ => false,
            },
        )
        .await;
        assert_eq!(seen, ids, "{conversation}");
    }
}

/// Our own mistake, and no try again helps.
fn is_refusal(status: StatusCode) -> bool {
    let again = [StatusCode::TOO_MANY_REQUESTS, StatusCode::NOT_FOUND];
    status.is_client_error() && !again.contains(&status)
}
