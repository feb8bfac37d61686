//! A log, a hot tier, the query service, and the other services when a test wants them.

use std::{collections::BTreeMap, ops::Range};

use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, PartitionCount, PartitionId, Seq,
    TenantId, Timestamp,
};
use event_log::EventLog;
use event_proto::{EncodedEvent, FrameBuilder};
use reqwest::{Client, Response};
use serde_json::Value;
use tempfile::TempDir;
use testkit::{Nats, Service, Valkey, eventually, free_port, program};

pub(crate) const PARTITIONS: u16 = 2;
pub(crate) const CONVERSATIONS: u64 = 3;

pub(crate) struct World {
    pub(crate) nats: Nats,
    pub(crate) valkey: Valkey,
    pub(crate) log: EventLog,
    pub(crate) http: Client,
    pub(crate) query: Service,
    /// Runs the statements.
    pub(crate) executor: Service,
    pub(crate) url: String,
    admin_url: String,
    executor_admin: String,
    flight_port: u16,
    dir: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(more: &[&str]) -> Self {
        Self::start_in(more, &[]).await
    }

    /// With more arguments and environment variables of query.
    pub(crate) async fn start_in(more: &[&str], envs: &[(&str, String)]) -> Self {
        service_runtime::install_crypto_provider();
        let (nats, valkey) = tokio::join!(Nats::start(), Valkey::start());
        let log = EventLog::connect(&nats.url, "test").await.unwrap();
        log.ensure_streams(count(), 1, None).await.unwrap();
        let (port, admin_port, flight_port) = (free_port(), free_port(), free_port());
        let dir = TempDir::new().unwrap();
        let compactor = format!("http://127.0.0.1:{flight_port}");
        let [executor_addr, executor_admin] =
            [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let executor = [
            ["--listen", &executor_addr],
            ["--compactor-url", &compactor],
            ["--data", &dir.path().join("warm").display().to_string()],
            ["--admin-addr", &executor_admin],
        ];
        let executor = Service::start(program("executor"), executor.concat());
        let mut args: Vec<String> = [
            "--nats-url",
            &nats.url,
            "--redis-url",
            &valkey.url,
            "--compactor-url",
            &compactor,
            "--executor-url",
            &format!("http://{executor_addr}"),
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--admin-addr",
            &format!("127.0.0.1:{admin_port}"),
        ]
        .map(str::to_owned)
        .into();
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let world = Self {
            query: Service::start_with(env!("CARGO_BIN_EXE_query"), args, envs.iter().cloned()),
            http: Client::new(),
            executor,
            url: format!("http://127.0.0.1:{port}"),
            executor_admin: format!("http://{executor_admin}"),
            admin_url: format!("http://127.0.0.1:{admin_port}"),
            nats,
            valkey,
            log,
            flight_port,
            dir,
        };
        eventually("query is ready", async || world.is_ready().await).await;
        eventually("the executor is ready", async || {
            world.answers_readyz(&world.executor_admin).await
        })
        .await;
        world
    }

    pub(crate) async fn is_ready(&self) -> bool {
        self.answers_readyz(&self.admin_url).await
    }

    async fn answers_readyz(&self, admin_url: &str) -> bool {
        let answer = self.http.get(format!("{admin_url}/readyz")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    pub(crate) async fn metrics(&self) -> String {
        self.metrics_of(&self.admin_url).await
    }

    pub(crate) async fn executor_metrics(&self) -> String {
        self.metrics_of(&self.executor_admin).await
    }

    async fn metrics_of(&self, admin_url: &str) -> String {
        let answer = self.http.get(format!("{admin_url}/metrics")).send().await;
        answer.unwrap().text().await.unwrap()
    }

    pub(crate) fn flight_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.flight_port)
    }

    pub(crate) fn hot_writer(&self) -> Service {
        let args = [
            "--nats-url",
            &self.nats.url,
            "--redis-url",
            &self.valkey.url,
        ];
        let admin = ["--admin-addr", "127.0.0.1:0", "--trim-interval", "100ms"];
        Service::start(program("hot-writer"), [&args[..], &admin[..]].concat())
    }

    pub(crate) fn compactor(&self, more: &[&str]) -> Service {
        let data = self.dir.path().join("warm").display().to_string();
        let flight = format!("127.0.0.1:{}", self.flight_port);
        let args = [
            "--nats-url",
            &self.nats.url,
            "--redis-url",
            &self.valkey.url,
            "--flight-addr",
            &flight,
            "--data",
            &data,
            "--admin-addr",
            "127.0.0.1:0",
            "--maintenance-interval",
            "200ms",
        ];
        Service::start(program("compactor"), [&args[..], more].concat())
    }

    /// Appends the events `numbers`, `per_frame` in one frame.
    /// The runs of what is not sealed that lie in files.
    pub(crate) fn open_runs(&self) -> usize {
        let folder = self.dir.path().join("warm/open");
        folder.read_dir().map_or(0, Iterator::count)
    }

    pub(crate) async fn publish(&self, numbers: Range<u64>, per_frame: usize) {
        self.publish_events(numbers.map(event), per_frame).await;
    }

    pub(crate) async fn publish_events(
        &self,
        events: impl Iterator<Item = Event>,
        per_frame: usize,
    ) {
        let mut of: BTreeMap<PartitionId, Vec<Event>> = BTreeMap::new();
        for event in events {
            of.entry(partition(&event)).or_default().push(event);
        }
        for (partition, events) in of {
            for chunk in events.chunks(per_frame) {
                let mut frame = FrameBuilder::new(TenantId::default_tenant(), partition, 0);
                for event in chunk {
                    let encoded = EncodedEvent::encode(event);
                    let identity = encoded.identity(event.event_id);
                    let conversation = frame.conversation(&event.conversation_id);
                    frame.push(identity, conversation, encoded.as_encoded());
                }
                let id = frame.message_id();
                let appended = self.log.append(partition, &id, frame.encode(), Vec::new());
                appended.await.unwrap();
            }
        }
    }

    pub(crate) async fn last(&self) -> BTreeMap<PartitionId, Seq> {
        let mut last = BTreeMap::new();
        for partition in count().all() {
            last.insert(partition, self.log.last_seq(partition).await.unwrap());
        }
        last
    }

    /// Waits until a tier's watermark, as `/v1/watermarks` shows it, is where the log is.
    pub(crate) async fn until(&self, tier: &str, field: &str) {
        let last = self.last().await;
        eventually(&format!("{tier} is up to the log"), async || {
            let (status, answer) = self.json("/v1/watermarks").await;
            let partitions = answer["partitions"].as_array().cloned().unwrap_or_default();
            status == 200
                && last.iter().all(|(partition, last)| {
                    let own = partitions
                        .iter()
                        .find(|own| own["partition"] == partition.to_string());
                    *last == 0 || own.is_some_and(|own| own[tier][field] == *last)
                })
        })
        .await;
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.http
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn get_as(&self, path: &str, accept: &str) -> Response {
        let request = self.http.get(format!("{}{path}", self.url));
        request.header("accept", accept).send().await.unwrap()
    }

    pub(crate) async fn json(&self, path: &str) -> (u16, Value) {
        let answer = self.get(path).await;
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}")),
        )
    }

    /// The sum of the hourly statistics.
    pub(crate) async fn hourly_events(&self) -> u64 {
        let (_, answer) = self.json("/v1/stats/hourly").await;
        let hours = answer["hours"].as_array().unwrap();
        hours
            .iter()
            .map(|hour| hour["events"].as_u64().unwrap())
            .sum()
    }

    pub(crate) async fn sql(&self, sql: impl Into<reqwest::Body>) -> (u16, Value) {
        self.sql_with("", sql).await
    }

    pub(crate) async fn sql_with(
        &self,
        query: &str,
        sql: impl Into<reqwest::Body>,
    ) -> (u16, Value) {
        let request = self
            .http
            .post(format!("{}/v1/sql{query}", self.url))
            .body(sql);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}")),
        )
    }

    pub(crate) async fn tail(&self, path: &str, last_event_id: Option<&str>) -> Response {
        let mut request = self.http.get(format!("{}{path}", self.url));
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer
    }

    /// The numbers of a conversation's events, oldest first, by one request.
    pub(crate) async fn read(&self, conversation: u64) -> (Vec<u64>, Value) {
        let path = format!(
            "/v1/conversations/{}/events?order=asc&limit=10000",
            id(conversation)
        );
        let (status, answer) = self.json(&path).await;
        assert_eq!(status, 200, "{answer}");
        (numbers(&answer), answer)
    }

    /// Asserts that `0..count` can be read, every event once and in order, and nothing is missing.
    pub(crate) async fn assert_all(&self, count: u64) {
        for conversation in 0..CONVERSATIONS {
            let (found, answer) = self.read(conversation).await;
            let expected: Vec<u64> = (0..count)
                .filter(|n| n % CONVERSATIONS == conversation)
                .collect();
            assert_eq!(found, expected, "conversation {conversation}");
            assert_eq!(answer["complete"], true, "{}", answer["missing"]);
        }
    }
}

pub(crate) fn count() -> PartitionCount {
    PartitionCount::new(PARTITIONS).unwrap()
}

pub(crate) fn partition(event: &Event) -> PartitionId {
    count().partition_of(&event.tenant, &event.conversation_id)
}

pub(crate) fn id(conversation: u64) -> String {
    format!("conversation-{conversation}")
}

pub(crate) fn numbers(answer: &Value) -> Vec<u64> {
    let events = answer["events"].as_array().unwrap();
    events.iter().map(number).collect()
}

pub(crate) fn number(event: &Value) -> u64 {
    let content = event["content"].as_str().unwrap();
    content.strip_prefix("chunk ").unwrap().parse().unwrap()
}

/// Event `number`: one of the conversations.
pub(crate) fn event(number: u64) -> Event {
    let types = ["output.chunk", "tool.call", "error", "output.other"];
    Event {
        event_id: EventId::from_u128(
            0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number),
        ),
        tenant: TenantId::default_tenant(),
        conversation_id: ConversationId::new(&id(number % CONVERSATIONS)).unwrap(),
        task_id: None,
        event_type: EventType::new(types[usize::try_from(number % 4).unwrap()]).unwrap(),
        timestamp: Timestamp::from_micros(
            1_763_629_200_000_000 + i64::try_from(number).unwrap() * 1_000_000_000,
        ),
        content: format!("chunk {number}"),
        content_encoding: ContentEncoding::Utf8,
        metadata: r#"{"a": 1}"#.to_owned(),
        correlation_id: None,
        trace_id: None,
        span_id: None,
    }
}
