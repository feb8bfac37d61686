//! The services that `dev` starts and the flags it gives them.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use super::{children::Share, clock::Clock, ports::Ports};

/// What the flags depend on.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) data: PathBuf,
    pub(crate) cold_url: String,
    pub(crate) s3_endpoint: Option<String>,
    pub(crate) ports: Ports,
    pub(crate) archive_every: Duration,
    pub(crate) clock: Clock,
}

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) admin_port: u16,
    pub(crate) args: Vec<OsString>,
    pub(crate) share: Share,
}

const SEAL_AFTER: Duration = Duration::from_secs(600);
/// Sealing writes files and syncs them: more often than this it slows everything down.
const SHORTEST_SEAL: Duration = Duration::from_secs(3);
const TRIM_INTERVAL: Duration = Duration::from_secs(10);
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(10);
const LOG_GRACE: Duration = Duration::from_secs(3600);

/// The compactor lets the others go first for so long when all of them need the processors, unless
/// somebody reads what it has not looked at yet.
const THROTTLE_UNDER_PRESSURE: &str = "2s";

const USE_COLD: [&str; 3] = ["compactor", "query", "archiver"];

/// What they do can wait a little, and nothing is lost while it waits: when the machine is busy, what
/// takes events and what answers come first.
const LATER: [&str; 2] = ["compactor", "archiver"];
const BEHIND: i32 = 10;

/// In the order in which they start: ingest makes the streams, the others wait for them.
pub(crate) const NAMES: [&str; 5] = ["ingest", "hot-writer", "compactor", "query", "archiver"];

/// All of them, for a log of so many partitions.
pub(crate) fn all(setting: &Setting, partitions: u16) -> Vec<Service> {
    let ports = setting.ports;
    let services = (0..).zip(NAMES).map(|(n, name)| {
        let mut flags = Flags::default();
        flags
            .add("--nats-url", nats_url(ports))
            .add("--admin-addr", local(ports.admin(n)))
            .add("--shutdown-grace", "4s");
        own_flags(name, setting, partitions, &mut flags);
        if USE_COLD.contains(&name) {
            s3_flags(setting, &mut flags);
        }
        Service {
            name,
            admin_port: ports.admin(n),
            args: flags.0,
            share: Share {
                nice: if LATER.contains(&name) { BEHIND } else { 0 },
                half_of_the_cores: name != "query",
            },
        }
    });
    services.collect()
}

fn own_flags(name: &str, setting: &Setting, partitions: u16, flags: &mut Flags) {
    let (ports, clock) = (setting.ports, setting.clock);
    let flight = local(ports.flight());
    let compactor_url = format!("http://{flight}");
    match name {
        "ingest" => flags
            .add("--listen", local(ports.ingest()))
            .add("--partitions", partitions.to_string())
            .add("--log-replicas", "1")
            .add(
                "--nats-monitor-url",
                format!("http://{}", local(ports.nats_monitor())),
            ),
        "hot-writer" => flags
            .add("--redis-url", redis_url(ports))
            .add("--trim-interval", clock.flag(TRIM_INTERVAL)),
        "compactor" => flags
            .add("--redis-url", redis_url(ports))
            .add("--cold-url", &setting.cold_url)
            .add("--data", setting.data.join("warm"))
            .add("--flight-addr", flight)
            .add("--seal-after", clock.flag_from(SHORTEST_SEAL, SEAL_AFTER))
            .add("--maintenance-interval", clock.flag(MAINTENANCE_INTERVAL))
            .add("--log-grace", clock.flag(LOG_GRACE))
            .add("--throttle-under-pressure", THROTTLE_UNDER_PRESSURE),
        "query" => flags
            .add("--listen", local(ports.query()))
            .add("--redis-url", redis_url(ports))
            .add("--cold-url", &setting.cold_url)
            .add("--cache-dir", setting.data.join("cache/query"))
            .add("--compactor-url", compactor_url),
        "archiver" => flags
            .add("--cold-url", &setting.cold_url)
            .add("--compactor-url", compactor_url)
            .add("--every", clock.flag(setting.archive_every)),
        _ => unreachable!("the list above has no other"),
    };
}

fn s3_flags(setting: &Setting, flags: &mut Flags) {
    let Some(endpoint) = &setting.s3_endpoint else {
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

    fn setting(s3_endpoint: Option<&str>) -> Setting {
        Setting {
            data: "/data".into(),
            cold_url: "/data/cold".into(),
            s3_endpoint: s3_endpoint.map(str::to_owned),
            ports: Ports::new(7400).unwrap(),
            archive_every: Duration::from_secs(300),
            clock: Clock::new(60),
        }
    }

    fn flags(setting: &Setting, name: &str) -> String {
        let mut services = all(setting, 4).into_iter();
        let service = services.find(|service| service.name == name).unwrap();
        let args: Vec<_> = service.args.iter().map(|a| a.to_string_lossy()).collect();
        args.join(" ")
    }

    #[test]
    fn accelerated_services_seal_archive_and_trim_sooner() {
        let flags = |name| flags(&setting(None), name);
        assert!(flags("compactor").contains("--seal-after 10s"));
        assert!(flags("archiver").contains("--every 5s"));
        assert!(flags("hot-writer").contains("--trim-interval 1s"));
        assert!(flags("ingest").contains("--admin-addr 127.0.0.1:7411"));
    }

    #[test]
    fn those_that_use_the_bucket_are_told_where_it_is() {
        let plain = "--s3-endpoint http://127.0.0.1:9000 --s3-allow-http";
        for name in USE_COLD {
            assert!(flags(&setting(Some("http://127.0.0.1:9000")), name).ends_with(plain));
            assert!(
                flags(&setting(Some("https://s3")), name).ends_with("--s3-endpoint https://s3")
            );
            assert!(!flags(&setting(None), name).contains("--s3"));
        }
        assert!(!flags(&setting(Some("https://s3")), "ingest").contains("--s3"));
    }
}
