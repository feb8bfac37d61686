use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};

use testkit::{Nats, Service, eventually, free_port};

use crate::world::{World, lines, problem};

const EXIT_TIMEOUT: Duration = Duration::from_secs(30);

async fn ends_with_an_error(args: &[String]) -> String {
    let mut ingest = Service::start(env!("CARGO_BIN_EXE_ingest"), args);
    assert!(!ingest.wait(EXIT_TIMEOUT).await.success());
    ingest.stderr()
}

#[tokio::test]
async fn another_partition_count_is_refused_with_the_right_one() {
    let (world, ingest) = World::start().await;
    assert!(ingest.stop().await.success());
    let stderr = ends_with_an_error(&world.args(&["--partitions=8"])[..]).await;
    assert!(stderr.contains("cannot be used multiple times") || stderr.contains("--partitions 2"));
    let mut args = world.args(&[]);
    args.iter_mut().for_each(|arg| {
        if arg.starts_with("--partitions") {
            *arg = "--partitions=8".to_owned();
        }
    });
    let stderr = ends_with_an_error(&args).await;
    assert!(stderr.contains("start with --partitions 2"), "{stderr}");
}

#[tokio::test]
async fn a_log_that_may_lose_events_is_refused() {
    let nats = Nats::start().await;
    let args = |more: &str| {
        vec![
            format!("--listen=127.0.0.1:{}", free_port()),
            format!("--admin-addr=127.0.0.1:{}", free_port()),
            format!("--nats-url={}", nats.url),
            "--log-replicas=1".to_owned(),
            more.to_owned(),
        ]
    };
    let stderr = ends_with_an_error(&args("--max-requests=1")).await;
    assert!(stderr.contains("--nats-monitor-url"), "{stderr}");
    let unreachable = format!("--nats-monitor-url=http://127.0.0.1:{}", free_port());
    let stderr = ends_with_an_error(&args(&unreachable)).await;
    assert!(stderr.contains("ask nats-server"), "{stderr}");

    let unsafe_log = Service::start(env!("CARGO_BIN_EXE_ingest"), args("--allow-unsafe-log"));
    eventually("it warns loudly", async || {
        (unsafe_log.stdout() + &unsafe_log.stderr()).contains("UNSAFE LOG")
    })
    .await;
}

#[tokio::test]
async fn three_replicas_on_one_server_are_refused_with_the_reason() {
    let (world, ingest) = World::start().await;
    assert!(ingest.stop().await.success());
    let fresh = Nats::start().await;
    let mut args = world.args(&[]);
    args.retain(|arg| !arg.starts_with("--log-replicas") && !arg.starts_with("--nats"));
    args.push(format!("--nats-url={}", fresh.url));
    args.push(format!("--nats-monitor-url={}", fresh.monitor_url));
    let stderr = ends_with_an_error(&args).await;
    assert!(stderr.contains("replicas"), "{stderr}");
}

#[tokio::test]
async fn a_taken_port_is_a_clear_error() {
    let (world, _ingest) = World::start().await;
    let mut args = world.args(&[]);
    args.retain(|arg| !arg.starts_with("--admin"));
    args.push(format!("--admin-addr=127.0.0.1:{}", free_port()));
    let stderr = ends_with_an_error(&args).await;
    assert!(stderr.contains("bind http to 127.0.0.1"), "{stderr}");
}

#[tokio::test]
async fn readiness_follows_the_log() {
    let (mut world, _ingest) = World::start().await;
    world.nats.kill().await;
    eventually("it is not ready", async || !world.is_ready().await).await;
    world.nats.restart().await;
    eventually("it is ready again", async || world.is_ready().await).await;
    assert_eq!(world.append(lines(0..3)).await["acked"], 3);
}

/// The monitor of a nats-server that writes as long as `writes` says so.
async fn monitor(writes: Arc<AtomicBool>) -> String {
    let varz = r#"{"server_name":"x","jetstream":{"config":{"sync_always":true}}}"#;
    let healthz = async move || match writes.load(Ordering::Relaxed) {
        true => r#"{"status":"ok"}"#,
        false => r#"{"error":"JetStream stream 'x' write error: no space left on device"}"#,
    };
    let router = Router::new()
        .route("/varz", get(async move || varz))
        .route("/healthz", get(healthz));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn a_log_that_cannot_write_is_named_at_once_until_it_writes_again() {
    let (world, ingest) = World::start().await;
    assert!(ingest.stop().await.success());
    let writes = Arc::new(AtomicBool::new(false));
    let mut args = world.args(&[]);
    args.retain(|arg| !arg.starts_with("--nats-monitor"));
    args.push(format!(
        "--nats-monitor-url={}",
        monitor(Arc::clone(&writes)).await
    ));
    let _ingest = Service::start(env!("CARGO_BIN_EXE_ingest"), args);
    eventually("it is ready", async || world.is_ready().await).await;

    let append = async || {
        world
            .post("/v1/events")
            .body(lines(0..3))
            .send()
            .await
            .unwrap()
    };
    eventually("it refuses", async || append().await.status() == 507).await;
    let response = append().await;
    assert_eq!(response.headers()["retry-after"], "5");
    let (_, problem) = problem(response).await;
    assert_eq!(problem["code"], "log_disk_full");
    writes.store(true, Ordering::Relaxed);
    eventually("it stores", async || append().await.status() == 200).await;
}
