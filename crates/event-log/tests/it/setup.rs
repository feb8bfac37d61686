use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use event_log::{Error, EventLog};
use testkit::{Nats, free_port};

use crate::{World, count};

#[tokio::test]
async fn the_first_caller_fixes_the_partition_count() {
    let world = World::start().await;

    world.log.ensure_streams(count(2), 1, None).await.unwrap();
    let other = world.log.ensure_streams(count(4), 1, None).await;

    let error = other.unwrap_err();
    assert!(matches!(error, Error::Setup(_)), "{error}");
    assert!(!error.is_transient());
    assert!(error.to_string().contains("--partitions 2"), "{error}");
    assert_eq!(world.log.partition_count().await.unwrap(), Some(count(2)));
}

#[tokio::test]
async fn a_partition_count_that_was_deleted_is_that_of_the_streams() {
    let world = World::start().await;
    delete_key(&world, "partitions").await;
    assert_eq!(world.log.existing_partitions().await.unwrap(), 2);

    for other in [1, 4] {
        let error = world.log.ensure_streams(count(other), 1, None).await;
        let error = error.unwrap_err();
        assert!(error.to_string().contains("--partitions 2"), "{error}");
        assert_eq!(world.log.partition_count().await.unwrap(), None);
    }
    world.log.ensure_streams(count(2), 1, None).await.unwrap();
    assert_eq!(world.log.partition_count().await.unwrap(), Some(count(2)));
}

#[tokio::test]
async fn an_id_of_the_store_that_was_deleted_is_not_made_anew() {
    let world = World::start().await;
    let id = world.log.store_id().await.unwrap().unwrap();
    delete_key(&world, "store").await;

    let error = world
        .log
        .ensure_streams(count(2), 1, None)
        .await
        .unwrap_err();
    assert!(!error.is_transient());
    let repair = "nats kv put isotherm-meta store";
    assert!(error.to_string().contains(repair), "{error}");
    assert_eq!(world.log.store_id().await.unwrap(), None);

    let meta = meta(&world).await;
    meta.put("store", id.to_string().into()).await.unwrap();
    world.log.ensure_streams(count(2), 1, None).await.unwrap();
}

async fn meta(world: &World) -> async_nats::jetstream::kv::Store {
    let client = async_nats::connect(&world.nats.url).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    jetstream.get_key_value("isotherm-meta").await.unwrap()
}

async fn delete_key(world: &World, key: &str) {
    meta(world).await.delete(key).await.unwrap();
}

#[tokio::test]
async fn before_ingest_there_is_no_partition_count() {
    let nats = Nats::start().await;
    let log = EventLog::connect(&nats.url, "test").await.unwrap();
    assert_eq!(log.partition_count().await.unwrap(), None);
}

#[tokio::test]
async fn another_configuration_is_refused_but_another_size_is_accepted() {
    let world = World::start().await;

    let bigger = world.log.ensure_streams(count(2), 1, Some(64 << 20)).await;
    bigger.unwrap();

    let client = async_nats::connect(&world.nats.url).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let stream = jetstream.get_stream("EV_g1_p01_e1").await.unwrap();
    let mut config = stream.cached_info().config.clone();
    assert_eq!(config.max_bytes, 64 << 20);
    config.max_age = Duration::from_secs(3600);
    jetstream.update_stream(&config).await.unwrap();

    let error = world
        .log
        .ensure_streams(count(2), 1, None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("EV_g1_p01_e1"), "{error}");
    assert!(error.to_string().contains("max_age"), "{error}");
}

#[tokio::test]
async fn more_replicas_than_servers_are_refused_for_good() {
    let nats = Nats::start().await;
    let log = EventLog::connect(&nats.url, "test").await.unwrap();
    let error = log.ensure_streams(count(1), 3, None).await.unwrap_err();
    assert!(matches!(error, Error::Setup(_)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_clear_error_after_a_while() {
    let url = format!("nats://127.0.0.1:{}", free_port());
    let limit = Duration::from_millis(300);
    let error = EventLog::connect_within(&url, "test", limit).await;
    let error = error.unwrap_err();
    assert!(error.is_transient());
    assert!(error.to_string().contains("connect to nats"), "{error}");
}

#[tokio::test]
async fn a_store_gets_one_id_that_no_other_store_has() {
    let mut world = World::start().await;
    let id = world.log.store_id().await.unwrap();
    assert!(id.is_some());

    world.nats.restart().await;
    let log = EventLog::connect(&world.nats.url, "test").await.unwrap();
    log.ensure_streams(count(2), 1, None).await.unwrap();
    assert_eq!(log.store_id().await.unwrap(), id);

    let other = World::start().await;
    assert_ne!(other.log.store_id().await.unwrap(), id);
}

#[tokio::test]
async fn before_ingest_a_store_has_no_id() {
    let nats = Nats::start().await;
    let log = EventLog::connect(&nats.url, "test").await.unwrap();
    assert_eq!(log.store_id().await.unwrap(), None);
}

#[tokio::test]
async fn a_server_without_room_for_the_streams_says_what_to_change() {
    const MORE_THAN_ANY_DISK: i64 = 1 << 55;
    let world = World::start().await;
    let nats = Nats::start().await;
    let empty = EventLog::connect(&nats.url, "test").await.unwrap();
    // Of the first log the streams exist and are updated, of the other they are created.
    for log in [&world.log, &empty] {
        let refused = log.ensure_streams(count(2), 1, Some(MORE_THAN_ANY_DISK));
        let error = refused.await.unwrap_err();
        assert!(!error.is_transient(), "{error:?}");
        assert!(
            error.to_string().contains("raise its max_file_store"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn streams_that_reserve_most_of_the_server_are_accepted_again_at_the_next_start() {
    let nats = Nats::start().await;
    let log = EventLog::connect(&nats.url, "test").await.unwrap();
    let bytes = (max_storage(&nats) - (1 << 30)) / 5 * 2;
    for _start in 0..2 {
        log.ensure_streams(count(2), 1, Some(bytes)).await.unwrap();
    }
}

/// The bytes that the server may reserve for streams.
fn max_storage(nats: &Nats) -> i64 {
    let address = nats.monitor_url.trim_start_matches("http://");
    let mut monitor = TcpStream::connect(address).unwrap();
    monitor.write_all(b"GET /jsz HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    monitor.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let state: serde_json::Value = serde_json::from_str(body).unwrap();
    state["config"]["max_storage"].as_i64().unwrap()
}
