use std::time::{Duration, Instant};

use hot_tier::{Bounds, Error, HotWriter, Limits, Order};

use crate::world::{PARTITION, World, at, conversation, on_each_server, pack, tenant};

#[tokio::test]
async fn a_lost_partition_has_no_cursor_and_no_rows() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        world.append("a", 1..=3).await;

        world.server.flush().await;

        assert_eq!(world.writer.cursor(PARTITION).await.unwrap(), None);
        assert_eq!(world.writer.stats(PARTITION).await.unwrap(), None);
        let read = world.read_within("a", Bounds::default(), Order::Ascending, 1);
        assert_eq!(read.await, None);
    })
    .await;
}

#[tokio::test]
async fn a_stopped_server_is_a_transient_error_until_it_restarts() {
    on_each_server(async |mut world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        world.append("a", 1..=3).await;

        world.server.stop().await;
        let error = world.writer.cursor(PARTITION).await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        let never_connected = HotWriter::connect(&world.server.url).await.unwrap();
        assert!(never_connected.ping().await.unwrap_err().is_transient());

        world.server.restart().await;
        testkit::eventually("it answers again", async || {
            world.writer.ping().await.is_ok() && world.reader.ping().await.is_ok()
        })
        .await;
        assert_eq!(world.offsets("a").await.len(), 3);
        never_connected.ping().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_server_that_hangs_is_asked_once_and_then_left_alone_for_a_while() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        world.append("a", 1..=3).await;
        assert_eq!(world.offsets("a").await.len(), 3);

        world.server.pause();
        let (tenant, a) = (tenant(), conversation("a"));
        let (bounds, order) = (Bounds::default(), Order::Ascending);
        let read = async || {
            let read = world.reader.read(PARTITION, &tenant, &a, bounds, order, 9);
            read.await.unwrap_err().is_transient()
        };
        let asked_at = Instant::now();
        assert!(read().await);
        assert!(asked_at.elapsed() >= Duration::from_secs(1));
        let asked_at = Instant::now();
        assert!(read().await && world.reader.cursor(PARTITION).await.is_err());
        assert!(world.reader.ping().await.is_err());
        assert!(asked_at.elapsed() < Duration::from_secs(1), "{asked_at:?}");

        world.server.resume();
        assert_eq!(world.offsets("a").await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_becomes_a_replica_is_a_transient_error() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        world.append("a", 1..=3).await;
        world.server.command("REPLICAOF 127.0.0.1 1").await;

        let packs = [pack("a", &[(4, 0)])];
        let appended = world.writer.append(PARTITION, 3, 4, &packs).await;
        let skipped = world.writer.skip(PARTITION, 3, 9).await;

        for error in [appended.unwrap_err(), skipped.unwrap_err()] {
            assert!(error.is_transient(), "{error:?}");
        }
        world.server.command("REPLICAOF NO ONE").await;
        world.append("a", 4..=4).await;
        assert_eq!(world.offsets("a").await.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn a_full_server_refuses_appends_but_not_trims() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        world.append("a", 1..=3).await;
        world.server.command("CONFIG SET maxmemory 1").await;

        let packs = [pack("a", &[(4, 0)])];
        let appended = world.writer.append(PARTITION, 3, 4, &packs).await;
        let error = appended.unwrap_err();

        assert!(matches!(error, Error::Full(_)), "{error:?}");
        assert!(error.is_transient());
        let limits = Limits {
            older_than: at(9),
            max_events: None,
            sealed: 3,
        };
        assert_eq!(world.trim("a", limits).await.by_age, 3);
        world.server.command("CONFIG SET maxmemory 0").await;
        world.append("a", 4..=4).await;
        assert_eq!(world.offsets("a").await, [(4, 0)]);
    })
    .await;
}

#[tokio::test]
async fn a_damaged_entry_is_an_error_and_not_a_row() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        world.append("a", 1..=1).await;
        world.append("b", 2..=2).await;
        world.server.command("DEL {g1p03}:c:default:b").await;
        world
            .server
            .command("COPY {g1p03}:c:default:a {g1p03}:c:default:b")
            .await;
        world
            .server
            .command("XADD {g1p03}:c:default:a 2-0 p garbage")
            .await;

        for name in ["a", "b"] {
            let (tenant, conversation) = (tenant(), conversation(name));
            let (bounds, order) = (Bounds::default(), Order::Descending);
            let read = world
                .reader
                .read(PARTITION, &tenant, &conversation, bounds, order, 9);
            let error = read.await.unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
            assert!(!error.is_transient());
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_evicts_is_refused() {
    on_each_server(async |world: World| {
        assert!(world.writer.check_server().await.unwrap().is_empty());
        world.server.command("CONFIG SET appendonly no").await;
        assert_eq!(world.writer.check_server().await.unwrap().len(), 1);
        world
            .server
            .command("CONFIG SET maxmemory-policy allkeys-lru")
            .await;
        let error = world.writer.check_server().await.unwrap_err();
        assert!(error.to_string().contains("noeviction"), "{error}");
    })
    .await;
}
