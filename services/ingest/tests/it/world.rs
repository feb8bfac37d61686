use std::{fmt::Write as _, time::Duration};

use event::{Event, PartitionCount, Position, SeqRange};
use event_log::EventLog;
use futures::TryStreamExt as _;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use testkit::{Nats, Relay, Service, eventually, free_port};

pub(crate) const PARTITIONS: u16 = 2;

/// A nats-server, an ingest and a client.
pub(crate) struct World {
    pub(crate) nats: Nats,
    pub(crate) client: Client,
    pub(crate) port: u16,
    admin: u16,
    /// What ingest takes for the address of the log.
    log_url: String,
}

impl World {
    pub(crate) async fn start() -> (Self, Service) {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(more: &[&str]) -> (Self, Service) {
        let world = Self::without_ingest().await;
        let ingest = world.ingest(more).await;
        (world, ingest)
    }

    /// Ingest reaches the log through the relay.
    pub(crate) async fn start_behind_a_relay() -> (Self, Relay, Service) {
        let mut world = Self::without_ingest().await;
        let (_, port) = world.nats.url.rsplit_once(':').unwrap();
        let relay = Relay::start(port.parse().unwrap()).await;
        world.log_url = format!("nats://127.0.0.1:{}", relay.port);
        let ingest = world.ingest(&[]).await;
        (world, relay, ingest)
    }

    async fn without_ingest() -> Self {
        service_runtime::install_crypto_provider();
        let nats = Nats::start().await;
        Self {
            log_url: nats.url.clone(),
            nats,
            client: Client::builder()
                .timeout(Duration::from_secs(60))
                .build()
                .unwrap(),
            port: free_port(),
            admin: free_port(),
        }
    }

    pub(crate) fn args(&self, more: &[&str]) -> Vec<String> {
        let mut args = vec![
            format!("--listen=127.0.0.1:{}", self.port),
            format!("--admin-addr=127.0.0.1:{}", self.admin),
            format!("--nats-url={}", self.log_url),
            format!("--nats-monitor-url={}", self.nats.monitor_url),
            format!("--partitions={PARTITIONS}"),
            "--log-replicas=1".to_owned(),
        ];
        args.extend(more.iter().map(ToString::to_string));
        args
    }

    /// Starts an ingest and waits until it is ready.
    pub(crate) async fn ingest(&self, more: &[&str]) -> Service {
        let ingest = Service::start(env!("CARGO_BIN_EXE_ingest"), self.args(more));
        eventually("ingest is ready", async || self.is_ready().await).await;
        ingest
    }

    pub(crate) async fn is_ready(&self) -> bool {
        let ready = self.client.get(self.admin("readyz")).send().await;
        ready.is_ok_and(|response| response.status().is_success())
    }

    pub(crate) fn admin(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.admin)
    }

    /// The value of a metric of ingest; `None` before it has one.
    pub(crate) async fn metric(&self, name: &str) -> Option<u64> {
        let metrics = self.client.get(self.admin("metrics")).send().await;
        let metrics = metrics.unwrap().text().await.unwrap();
        let mut lines = metrics.lines();
        lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        self.client.post(url)
    }

    /// Posts NDJSON and expects success.
    pub(crate) async fn append(&self, body: String) -> Value {
        let response = self.post("/v1/events").body(body).send().await.unwrap();
        ok(response).await
    }

    /// Everything in the log, with its position.
    pub(crate) async fn stored(&self) -> Vec<(Position, Event)> {
        let log = EventLog::connect(&self.nats.url, "test").await.unwrap();
        let mut all = Vec::new();
        for partition in PartitionCount::new(PARTITIONS).unwrap().all() {
            let hi = log.last_seq(partition).await.unwrap();
            let Some(range) = SeqRange::new(1, hi) else {
                continue;
            };
            let mut messages = log.read_range(partition, range).await.unwrap();
            while let Some(message) = messages.try_next().await.unwrap() {
                let frame = event_proto::Frame::decode(message.payload).unwrap();
                for (idx, event) in frame.events.iter().enumerate() {
                    let idx = u16::try_from(idx).unwrap();
                    let position = Position::new(partition, message.seq, idx);
                    all.push((position, event.encoded.decode(&frame.tenant).unwrap()));
                }
            }
        }
        all
    }
}

/// The response body of a request that succeeded.
pub(crate) async fn ok(response: Response) -> Value {
    let status = response.status();
    let text = response.text().await.unwrap();
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// The status and problem of a refused request; checks the form of the problem.
pub(crate) async fn problem(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let content_type = response.headers()["content-type"].clone();
    let text = response.text().await.unwrap();
    assert_eq!(content_type, "application/problem+json", "{status}: {text}");
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["status"], status);
    for field in ["type", "title", "code", "detail"] {
        assert!(!problem[field].as_str().unwrap().is_empty(), "{field}");
    }
    (status, problem)
}

/// Events `ids` as NDJSON, over five conversations.
pub(crate) fn lines(ids: impl Iterator<Item = u64>) -> String {
    ids.fold(String::new(), |mut text, id| {
        let conversation = id % 5;
        writeln!(
            text,
            r#"{{"event_id":"e{id}","conversation_id":"c{conversation}","type":"output.chunk","timestamp":"2026-11-20T09:00:00Z","content":"{id}"}}"#
        )
        .unwrap();
        text
    })
}

/// The numbers of stored events, in ascending order.
pub(crate) fn numbers(stored: &[(Position, Event)]) -> Vec<u64> {
    let mut numbers: Vec<u64> = stored
        .iter()
        .map(|(_, event)| event.content.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    numbers
}
