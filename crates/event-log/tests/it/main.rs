//! The event log against a real nats-server.

#![allow(clippy::unwrap_used, reason = "a test that fails must panic")]

mod appending;
mod dead_letters;
mod log_identity;
mod odd_headers;
mod reading;
mod setup;
mod shared;

use bytes::Bytes;
use event::{PartitionCount, PartitionId};
use event_log::{Appended, EventLog};
use testkit::Nats;

const PARTITION: PartitionId = PartitionId::first(0);

struct World {
    nats: Nats,
    log: EventLog,
}

impl World {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    async fn start_with(max_bytes: Option<i64>) -> Self {
        let nats = Nats::start().await;
        let log = EventLog::connect(&nats.url, "test").await.unwrap();
        log.ensure_streams(count(2), 1, max_bytes).await.unwrap();
        Self { nats, log }
    }

    async fn append(&self, id: &str) -> event_log::Result<Appended> {
        let payload = Bytes::from(format!("payload of {id}"));
        self.log.append(PARTITION, id, payload, Vec::new()).await
    }

    async fn append_many(&self, ids: std::ops::RangeInclusive<u64>) {
        for id in ids {
            self.append(&id.to_string()).await.unwrap();
        }
    }
}

fn count(count: u16) -> PartitionCount {
    PartitionCount::new(count).unwrap()
}
