//! The ports of `isotherm dev`, counted from one base.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use anyhow::bail;

/// Time for which a port may still be in use by a `dev` that was just killed.
const PORT_RELEASE_TIMEOUT: Duration = Duration::from_secs(3);

/// The ports of one `dev`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    base: u16,
}

impl Ports {
    /// Offset of the highest port from the base.
    const HIGHEST_PORT_OFFSET: u16 = 32;

    pub(crate) fn new(base: u16) -> anyhow::Result<Self> {
        let highest = u16::MAX - Self::HIGHEST_PORT_OFFSET;
        if !(1..=highest).contains(&base) {
            return Err(crate::exit::Usage(format!(
                "--port-base {base} leaves no room for the ports above it: use 1 to {highest}"
            ))
            .into());
        }
        Ok(Self { base })
    }

    /// True when they are the ports that the other commands use by default.
    pub(crate) fn are_default(self) -> bool {
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

    pub(crate) fn executor(self) -> u16 {
        self.base + 4
    }

    /// The admin port of the `n`th service: ingest, hot-writer, compactor, query, archiver, executor.
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

    /// All ports with their use.
    fn all(self) -> [(u16, &'static str); 13] {
        [
            (self.ingest(), "ingest"),
            (self.query(), "query"),
            (self.flight(), "compactor"),
            (self.executor(), "executor"),
            (self.admin(0), "ingest admin"),
            (self.admin(1), "hot-writer admin"),
            (self.admin(2), "compactor admin"),
            (self.admin(3), "query admin"),
            (self.admin(4), "archiver admin"),
            (self.admin(5), "executor admin"),
            (self.nats(), "NATS"),
            (self.valkey(), "Valkey"),
            (self.nats_monitor(), "NATS monitor"),
        ]
    }

    /// Waits until all of them are free. Fails with the first that is not after
    /// [`PORT_RELEASE_TIMEOUT`].
    pub(crate) async fn check(self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PORT_RELEASE_TIMEOUT;
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
