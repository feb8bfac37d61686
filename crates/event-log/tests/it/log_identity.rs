//! A log that is replaced by an older copy while it is in use.

use event::SeqRange;
use event_log::{Error, EventLog};
use futures::StreamExt as _;
use testkit::eventually;

use crate::{PARTITION, World};

/// A log of five messages whose store is replaced by a copy that has the first three, and the folder
/// of its own store.
async fn replaced() -> (World, tempfile::TempDir) {
    let mut world = World::start().await;
    let dir = tempfile::TempDir::new().unwrap();
    world.append_many(1..=3).await;
    world.nats.copy_store(&dir.path().join("copy")).await;
    eventually("it is connected again", async || {
        world.append("4").await.is_ok()
    })
    .await;
    world.append("5").await.unwrap();
    let (copy, own) = (dir.path().join("copy"), dir.path().join("own"));
    world.nats.replace_store(&copy, &own).await;
    (world, dir)
}

async fn last_of(world: &World) -> u64 {
    let other = EventLog::connect(&world.nats.url, "other").await.unwrap();
    other.last_seq(PARTITION).await.unwrap()
}

#[tokio::test]
async fn an_older_copy_takes_nothing_until_the_log_is_restored() {
    let (mut world, dir) = replaced().await;
    for id in ["6", "3"] {
        let mut error = None;
        eventually("it answers", async || {
            error = world.append(id).await.err();
            error.as_ref().is_some_and(|error| !error.is_transient())
        })
        .await;
        let error = error.unwrap();
        assert!(
            matches!(error, Error::Regressed { known: 5, .. }),
            "{id}: {error}"
        );
    }
    let purged = world.log.purge_through(PARTITION, 2).await;
    assert!(purged.unwrap_err().is_divergence());
    assert_eq!(last_of(&world).await, 3);

    let (own, again) = (dir.path().join("own"), dir.path().join("again"));
    world.nats.replace_store(&own, &again).await;
    eventually("it is released", async || world.append("6").await.is_ok()).await;

    assert!(world.log.latched(PARTITION).is_none());
    let range = SeqRange { lo: 1, hi: 6 };
    let messages = world.log.read_range(PARTITION, range).await.unwrap();
    assert_eq!(messages.count().await, 6);
}

#[tokio::test]
async fn an_older_copy_that_has_grown_since_takes_nothing() {
    let (world, _dir) = replaced().await;
    let other = EventLog::connect(&world.nats.url, "other").await.unwrap();
    for id in ["a", "b", "c", "d"] {
        let append = other.append(PARTITION, id, "x".into(), Vec::new());
        append.await.unwrap();
    }

    let mut error = None;
    eventually("it answers", async || {
        error = world.append("6").await.err();
        error.as_ref().is_some_and(|error| !error.is_transient())
    })
    .await;

    let error = error.unwrap();
    assert!(matches!(error, Error::Replaced { seq: 5, .. }), "{error}");
    assert_eq!(last_of(&world).await, 7);
}
