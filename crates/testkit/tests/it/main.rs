//! Runs the kit against the real servers.

use std::time::Duration;

use testkit::{Nats, SeaweedFs, Service, Valkey, eventually, eventually_within};
use tokio::net::TcpStream;

#[tokio::test]
async fn nats_comes_back_on_the_same_port() {
    let mut nats = Nats::start().await;
    let address = nats.url.trim_start_matches("nats://").to_owned();
    assert!(TcpStream::connect(&address).await.is_ok());

    nats.kill().await;
    assert!(TcpStream::connect(&address).await.is_err());

    nats.restart().await;
    assert!(TcpStream::connect(&address).await.is_ok());
    nats.stop().await;
    assert!(TcpStream::connect(&address).await.is_err());
}

#[tokio::test]
async fn valkey_keeps_its_data_through_a_crash_and_loses_it_by_a_flush() {
    let mut valkey = Valkey::start().await;
    valkey.command("SET greeting hello").await;

    valkey.restart().await;
    assert_eq!(valkey.command("GET greeting").await, "$5\r\nhello\r\n");

    valkey.flush().await;
    assert_eq!(valkey.command("GET greeting").await, "$-1\r\n");
    let policy = valkey.command("CONFIG GET maxmemory-policy").await;
    assert!(policy.contains("noeviction"), "{policy}");
}

#[tokio::test]
async fn seaweedfs_has_its_bucket_also_after_a_crash() {
    let mut server = SeaweedFs::start().await;
    assert_eq!(server.bucket, "isotherm");

    server.restart().await;
    let address = server.endpoint.trim_start_matches("http://").to_owned();
    assert!(TcpStream::connect(&address).await.is_ok());
}

#[tokio::test]
async fn a_service_is_stopped_by_sigterm_and_its_output_is_kept() {
    let script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.02; done";
    let mut service = Service::start("/bin/sh", ["-c", script]);
    eventually("it is up", async || service.stdout() == "up\n").await;
    assert!(service.ended().is_none());

    assert_eq!(service.stop().await.code(), Some(3));
}

#[tokio::test]
async fn a_paused_service_does_nothing_until_it_is_resumed() {
    let service = Service::start("/bin/sh", ["-c", "while :; do echo tick; sleep 0.01; done"]);
    eventually("it ticks", async || !service.stdout().is_empty()).await;

    service.pause();
    let mut length = service.stdout().len();
    eventually("its output stops", async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let before = std::mem::replace(&mut length, service.stdout().len());
        before == length
    })
    .await;

    service.resume();
    eventually("it ticks again", async || service.stdout().len() > length).await;
    service.kill().await;
}

#[tokio::test]
#[should_panic(expected = "not within 50ms: pigs fly")]
async fn a_condition_that_never_holds_is_named() {
    eventually_within(Duration::from_millis(50), "pigs fly", async || false).await;
}
