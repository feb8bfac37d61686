//! A whole installation of Isotherm on free ports in a temporary folder.

use std::{collections::BTreeMap, time::Duration};

use event_log::EventLog;
use reqwest::{Client, Response};
use retention::{Cold, Hot, Policy, RuleSet, Selector, Warm};
use tempfile::TempDir;
use testkit::{
    Nats, Service, ShiftedClock, Valkey, eventually, eventually_within, free_port, program,
};

pub(crate) use crate::rules::{keep_all, sampled};

pub(crate) const SERVICES: [&str; 5] = ["ingest", "hot-writer", "compactor", "executor", "query"];
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(90);

pub(crate) struct World {
    // Dropped first: the services must end before the servers that they are connected to.
    services: BTreeMap<&'static str, Service>,
    pub(crate) valkey: Valkey,
    pub(crate) nats: Nats,
    pub(crate) dir: TempDir,
    ports: BTreeMap<&'static str, u16>,
    pub(crate) http: Client,
    setup: Setup,
}

/// The options of a [`World`].
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) partitions: u16,
    /// The URL of an OTLP collector for traces, over HTTP.
    pub(crate) collector: Option<String>,
    /// The folder of the cold tier, if it is not in the world's own.
    pub(crate) cold: Option<String>,
    /// Arguments of the query service for its cold tier, if it is not that of the others.
    pub(crate) query_cold: Vec<String>,
    /// The wall clock of every program but ingest, if it is wrong.
    pub(crate) clock: Option<ShiftedClock>,
    /// More arguments of the query service.
    pub(crate) query_args: Vec<String>,
    /// The same of the executor.
    pub(crate) executor_args: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            partitions: 3,
            collector: None,
            cold: None,
            query_cold: Vec::new(),
            clock: None,
            query_args: Vec::new(),
            executor_args: Vec::new(),
        }
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    pub(crate) async fn start_with(setup: Setup) -> Self {
        // An error means that another test has installed it already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let names = [
            "ingest",
            "query",
            "flight",
            "executor",
            "a-ingest",
            "a-hot-writer",
            "a-compactor",
            "a-executor",
            "a-query",
        ];
        let mut world = Self {
            services: BTreeMap::new(),
            valkey: Valkey::start().await,
            nats: Nats::start().await,
            dir: TempDir::new().unwrap(),
            ports: names.into_iter().map(|name| (name, free_port())).collect(),
            http: Client::builder()
                .timeout(Duration::from_secs(60))
                .build()
                .unwrap(),
            setup,
        };
        for name in SERVICES {
            world.start_service(name);
        }
        for name in SERVICES {
            world.until_ready(name).await;
        }
        world
    }

    pub(crate) fn start_service(&mut self, name: &'static str) {
        let mut args = self.common(name);
        let listen = |port: u16| format!("127.0.0.1:{port}");
        match name {
            "ingest" => {
                args.extend(["--listen".into(), listen(self.ports["ingest"])]);
                args.extend(["--partitions".into(), self.setup.partitions.to_string()]);
                args.extend(["--log-replicas", "1"].map(String::from));
                args.extend(["--nats-monitor-url".into(), self.nats.monitor_url.clone()]);
            }
            "hot-writer" => {
                args.extend(["--redis-url".into(), self.valkey.url.clone()]);
                args.extend(["--trim-interval", "1s"].map(String::from));
            }
            "compactor" => {
                args.extend([
                    "--data".into(),
                    self.path("warm"),
                    "--cold-url".into(),
                    self.cold(),
                ]);
                args.extend(["--redis-url".into(), self.valkey.url.clone()]);
                args.extend(["--flight-addr".into(), listen(self.ports["flight"])]);
                args.extend(
                    [
                        "--seal-after",
                        "2s",
                        "--log-grace",
                        "1s",
                        "--maintenance-interval",
                        "1s",
                    ]
                    .map(String::from),
                );
            }
            "executor" => {
                args.extend(["--listen".into(), listen(self.ports["executor"])]);
                args.extend(["--data".into(), self.path("warm")]);
                args.extend(["--compactor-url".into(), self.flight_url()]);
                args.extend(self.setup.executor_args.clone());
            }
            _ => {
                let executor = format!("http://{}", listen(self.ports["executor"]));
                args.extend(["--listen".into(), listen(self.ports["query"])]);
                args.extend(["--redis-url".into(), self.valkey.url.clone()]);
                args.extend(["--compactor-url".into(), self.flight_url()]);
                args.extend(["--executor-url".into(), executor]);
                match self.setup.query_cold.is_empty() {
                    true => args.extend(["--cold-url".into(), self.cold()]),
                    false => args.extend(self.setup.query_cold.clone()),
                }
                args.extend(["--cache-dir".into(), self.path("cache")]);
                args.extend(self.setup.query_args.clone());
            }
        }
        self.services.insert(
            name,
            Service::start_with(program(name), args, self.env(name)),
        );
    }

    fn env(&self, name: &str) -> Option<(&'static str, String)> {
        let clock = self.setup.clock.as_ref();
        clock.filter(|_| name != "ingest").map(ShiftedClock::env)
    }

    fn common(&self, name: &str) -> Vec<String> {
        let mut args = vec![
            "--admin-addr".into(),
            format!("127.0.0.1:{}", self.ports[format!("a-{name}").as_str()]),
        ];
        // It has no credentials, and reads only files and the compactor.
        if name != "executor" {
            args.extend(["--nats-url".into(), self.nats.url.clone()]);
        }
        if let Some(url) = &self.setup.collector {
            args.extend(["--otlp-protocol".into(), "http/protobuf".into()]);
            args.extend(["--otlp-endpoint".into(), url.clone()]);
        }
        args
    }

    pub(crate) async fn admin_status(&self, name: &str, path: &str) -> u16 {
        let port = self.ports[format!("a-{name}").as_str()];
        let url = format!("http://127.0.0.1:{port}{path}");
        let answer = self.http.get(url).send().await.unwrap();
        answer.status().as_u16()
    }

    /// The body of a page of a service's admin port.
    pub(crate) async fn admin(&self, name: &str, path: &str) -> String {
        let port = self.ports[format!("a-{name}").as_str()];
        let url = format!("http://127.0.0.1:{port}{path}");
        let answer = self.http.get(url).send().await.unwrap();
        answer.text().await.unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn cold(&self) -> String {
        self.setup.cold.clone().unwrap_or_else(|| self.path("cold"))
    }

    pub(crate) fn service(&mut self, name: &str) -> &mut Service {
        self.services.get_mut(name).expect("it was started")
    }

    pub(crate) fn flight_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports["flight"])
    }

    pub(crate) async fn kill(&mut self, name: &'static str) {
        self.services.remove(name).expect("it runs").kill().await;
    }

    pub(crate) async fn until_ready(&self, name: &str) {
        let url = format!(
            "http://127.0.0.1:{}/readyz",
            self.ports[format!("a-{name}").as_str()]
        );
        eventually(&format!("{name} is ready"), async || {
            self.http
                .get(&url)
                .send()
                .await
                .is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// Runs the archiver once and waits for its end.
    pub(crate) async fn archive(&self) {
        let mut archiver = self.start_archiver();
        let status = archiver.wait(WAIT_TIMEOUT).await;
        assert!(status.success(), "archiver: {}", archiver.stderr());
    }

    pub(crate) fn start_archiver(&self) -> Service {
        let args = [
            "--once",
            "--nats-url",
            &self.nats.url,
            "--compactor-url",
            &self.flight_url(),
            "--cold-url",
            &self.cold(),
            "--admin-addr",
            "127.0.0.1:0",
        ];
        Service::start_with(program("archiver"), args, self.env("archiver"))
    }

    pub(crate) async fn log(&self) -> EventLog {
        EventLog::connect(&self.nats.url, "e2e").await.unwrap()
    }

    pub(crate) fn ingest(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports["ingest"])
    }

    pub(crate) fn query(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports["query"])
    }

    /// Posts `lines` as one NDJSON request, once.
    pub(crate) async fn try_post(&self, lines: &[String]) -> reqwest::Result<Response> {
        let request = self.http.post(self.ingest("/v1/events"));
        request
            .header("content-type", "application/x-ndjson")
            .body(lines.join("\n"))
            .send()
            .await
    }

    /// Posts `lines` in requests of `batch`, each until it is acknowledged.
    pub(crate) async fn post(&self, lines: &[String], batch: usize) {
        for part in lines.chunks(batch) {
            eventually_within(WAIT_TIMEOUT, "a batch is acknowledged", async || match self
                .try_post(part)
                .await
            {
                Ok(answer) if answer.status().is_success() => true,
                Ok(answer) if answer.status().is_server_error() => false,
                Ok(answer) => panic!("{}: {}", answer.status(), answer.text().await.unwrap()),
                Err(_) => false,
            })
            .await;
        }
    }

    /// Puts one catch-all policy in force.
    pub(crate) async fn set_policy(&self, hot_ms: u64, warm_ms: u64, cold: Option<Cold>) {
        let policy = Policy {
            name: "test/all".into(),
            priority: 100,
            dry_run: false,
            selector: Selector::default(),
            hot: Some(Hot {
                max_age_ms: hot_ms,
                max_events_per_stream: None,
            }),
            warm: Some(Warm {
                max_age_ms: warm_ms,
                max_bytes: None,
            }),
            cold,
        };
        self.log()
            .await
            .publish_policy(&RuleSet::new(vec![policy]))
            .await
            .unwrap();
    }
}
