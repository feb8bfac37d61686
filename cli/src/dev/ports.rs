//! The ports of `isotherm dev`, counted from one base.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use anyhow::bail;

/// How long a port may still belong to a `dev` that was killed a moment ago.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    base: u16,
}

impl Ports {
    /// The distance of the highest port from the base.
    const SPAN: u16 = 32;

    pub(crate) fn new(base: u16) -> anyhow::Result<Self> {
        let highest = u16::MAX - Self::SPAN;
        if !(1..=highest).contains(&base) {
            return Err(crate::exit::Usage(format!(
                "--port-base {base} leaves no room for the ports above it: use 1 to {highest}"
            ))
            .into());
        }
        Ok(Self { base })
    }

    /// Whether they are those that every other command takes by default.
    pub(crate) fn are_usual(self) -> bool {
        self.base == 7400
    }

    pub(crate) fn ingest(self) -> u16 {
        self.base + 1
    }

    pub(crate) fn query(self) -> u16 {
        self.base + 2
    }

    pub(crate) fn flight(self) -> u16 {
        self.base + 3
    }

    /// The admin port of the `n`th service: ingest, hot-writer, compactor, query, archiver.
    pub(crate) fn admin(self, n: u16) -> u16 {
        self.base + 11 + n
    }

    pub(crate) fn nats(self) -> u16 {
        self.base + 22
    }

    pub(crate) fn valkey(self) -> u16 {
        self.base + 23
    }

    pub(crate) fn nats_monitor(self) -> u16 {
        self.base + 24
    }

    fn all(self) -> [(u16, &'static str); 11] {
        [
            (self.ingest(), "ingest"),
            (self.query(), "query"),
            (self.flight(), "compactor"),
            (self.admin(0), "ingest admin"),
            (self.admin(1), "hot-writer admin"),
            (self.admin(2), "compactor admin"),
            (self.admin(3), "query admin"),
            (self.admin(4), "archiver admin"),
            (self.nats(), "NATS"),
            (self.valkey(), "Valkey"),
            (self.nats_monitor(), "NATS monitor"),
        ]
    }

    /// Whether all of them are free; names the first that is not.
    pub(crate) async fn check(self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for (port, what) in self.all() {
            while let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
                if Instant::now() >= deadline {
                    bail!(
                        "port {port} ({what}) cannot be used ({}): stop what holds it, or choose \
                         other ports with --port-base",
                        error.kind()
                    );
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }
}
