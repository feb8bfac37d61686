//! The services that `dev` starts and the flags it gives them.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use super::{child::CpuSettings, ports::Ports, time_scale::TimeScale};

/// The settings from which the flags of the services are made.
#[derive(Debug)]
pub(crate) struct DevConfig {
    pub(crate) data: PathBuf,
    pub(crate) cold_url: String,
    pub(crate) s3_endpoint: Option<String>,
    pub(crate) ports: Ports,
    pub(crate) archive_every: Duration,
    pub(crate) time_scale: TimeScale,
    /// The path below which the monitor of NATS answers.
    pub(crate) monitor_path: String,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) cors_origins: Vec<String>,
}

/// One service to start.
#[derive(Debug)]
pub(crate) struct ServiceSpec {
    pub(crate) name: &'static str,
    pub(crate) admin_port: u16,
    pub(crate) args: Vec<OsString>,
    pub(crate) cpu: CpuSettings,
}

const SEAL_AFTER: Duration = Duration::from_secs(600);
/// Lower bound of the accelerated seal interval: sealing writes and syncs files, and more often than
/// this it slows everything down.
const MIN_SEAL_AFTER: Duration = Duration::from_secs(3);
const TRIM_INTERVAL: Duration = Duration::from_secs(10);
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(10);
const LOG_GRACE: Duration = Duration::from_secs(3600);

const COLD_TIER_USERS: [&str; 3] = ["compactor", "query", "archiver"];

/// Services whose work may be delayed without loss: on a busy machine, accepting events and answering
/// have priority.
/// Services that people wait for.
const ANSWERING_SERVICES: [&str; 2] = ["query", "executor"];
const BACKGROUND_SERVICES: [&str; 2] = ["compactor", "archiver"];
/// Nice value of the background services.
const BACKGROUND_NICE: i32 = 10;

/// The services in the order in which they start: ingest creates the streams, the others wait for them.
pub(crate) const NAMES: [&str; 6] = [
    "ingest",
    "hot-writer",
    "compactor",
    "query",
    "archiver",
    "executor",
];

/// Returns all services with their flags, for a log of `partitions` partitions.
pub(crate) fn all(config: &DevConfig, partitions: u16) -> Vec<ServiceSpec> {
    let ports = config.ports;
    let services = (0..).zip(NAMES).map(|(n, name)| {
        let mut flags = Flags::default();
        if name != "executor" {
            flags.add("--nats-url", nats_url(ports));
        }
        flags
            .add("--admin-addr", local(ports.admin(n)))
            .add("--shutdown-grace", "4s");
        for host in &config.allowed_hosts {
            flags.add("--allowed-host", host);
        }
        for origin in &config.cors_origins {
            flags.add("--cors-origin", origin);
        }
        own_flags(name, config, partitions, &mut flags);
        if COLD_TIER_USERS.contains(&name) {
            s3_flags(config, &mut flags);
        }
        ServiceSpec {
            name,
            admin_port: ports.admin(n),
            args: flags.0,
            cpu: CpuSettings {
                nice: if BACKGROUND_SERVICES.contains(&name) {
                    BACKGROUND_NICE
                } else {
                    0
                },
                half_of_the_cores: !ANSWERING_SERVICES.contains(&name),
            },
        }
    });
    services.collect()
}

fn own_flags(name: &str, config: &DevConfig, partitions: u16, flags: &mut Flags) {
    let (ports, time_scale) = (config.ports, config.time_scale);
    let flight = local(ports.flight());
    let compactor_url = format!("http://{flight}");
    match name {
        "ingest" => flags
            .add("--listen", local(ports.ingest()))
            .add("--partitions", partitions.to_string())
            .add("--log-replicas", "1")
            .add("--nats-monitor-url", nats_monitor_url(config)),
        "hot-writer" => flags
            .add("--redis-url", redis_url(ports))
            .add("--trim-interval", time_scale.flag(TRIM_INTERVAL)),
        "compactor" => flags
            .add("--redis-url", redis_url(ports))
            .add("--cold-url", &config.cold_url)
            .add("--data", config.data.join("warm"))
            .add("--flight-addr", flight)
            .add(
                "--seal-after",
                time_scale.flag_from(MIN_SEAL_AFTER, SEAL_AFTER),
            )
            .add(
                "--maintenance-interval",
                time_scale.flag(MAINTENANCE_INTERVAL),
            )
            .add("--log-grace", time_scale.flag(LOG_GRACE)),
        "query" => flags
            .add("--listen", local(ports.query()))
            .add("--redis-url", redis_url(ports))
            .add("--cold-url", &config.cold_url)
            .add("--cache-dir", config.data.join("cache/query"))
            .add("--compactor-url", compactor_url)
            .add(
                "--executor-url",
                format!("http://{}", local(ports.executor())),
            ),
        "executor" => flags
            .add("--listen", local(ports.executor()))
            .add("--data", config.data.join("warm"))
            .add("--compactor-url", compactor_url),
        "archiver" => flags
            .add("--cold-url", &config.cold_url)
            .add("--compactor-url", compactor_url)
            .add("--every", time_scale.flag(config.archive_every)),
        _ => unreachable!("not one of NAMES"),
    };
}

fn s3_flags(config: &DevConfig, flags: &mut Flags) {
    let Some(endpoint) = &config.s3_endpoint else {
        return;
    };
    flags.add("--s3-endpoint", endpoint);
    if endpoint.starts_with("http://") {
        flags.0.push("--s3-allow-http".into());
    }
}

pub(crate) fn nats_url(ports: Ports) -> String {
    format!("nats://127.0.0.1:{}", ports.nats())
}

pub(crate) fn nats_monitor_url(config: &DevConfig) -> String {
    let addr = local(config.ports.nats_monitor());
    format!("http://{addr}{}", config.monitor_path)
}

pub(crate) fn redis_url(ports: Ports) -> String {
    format!("redis://127.0.0.1:{}", ports.valkey())
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

#[derive(Default)]
struct Flags(Vec<OsString>);

impl Flags {
    fn add(&mut self, flag: &str, value: impl Into<OsString>) -> &mut Self {
        self.0.extend([flag.into(), value.into()]);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(s3_endpoint: Option<&str>) -> DevConfig {
        DevConfig {
            data: "/data".into(),
            cold_url: "/data/cold".into(),
            s3_endpoint: s3_endpoint.map(str::to_owned),
            ports: Ports::new(7400).unwrap(),
            archive_every: Duration::from_secs(300),
            time_scale: TimeScale::new(60),
            monitor_path: "/secret".to_owned(),
            allowed_hosts: vec!["box.example".to_owned()],
            cors_origins: vec!["http://app.example".to_owned()],
        }
    }

    fn flags(config: &DevConfig, name: &str) -> String {
        let mut services = all(config, 4).into_iter();
        let service = services.find(|service| service.name == name).unwrap();
        let args: Vec<_> = service.args.iter().map(|a| a.to_string_lossy()).collect();
        args.join(" ")
    }

    #[test]
    fn accelerated_services_seal_archive_and_trim_sooner() {
        let flags = |name| flags(&config(None), name);
        assert!(flags("compactor").contains("--seal-after 10s"));
        assert!(flags("archiver").contains("--every 5s"));
        assert!(flags("hot-writer").contains("--trim-interval 1s"));
        assert!(flags("ingest").contains("--admin-addr 127.0.0.1:7411"));
        let browsers = "--allowed-host box.example --cors-origin http://app.example";
        assert!(flags("query").contains(browsers));
    }

    #[test]
    fn the_services_that_use_the_bucket_get_its_endpoint() {
        let plain = "--s3-endpoint http://127.0.0.1:9000 --s3-allow-http";
        for name in COLD_TIER_USERS {
            assert!(flags(&config(Some("http://127.0.0.1:9000")), name).ends_with(plain));
            assert!(flags(&config(Some("https://s3")), name).ends_with("--s3-endpoint https://s3"));
            assert!(!flags(&config(None), name).contains("--s3"));
        }
        assert!(!flags(&config(Some("https://s3")), "ingest").contains("--s3"));
    }
}
