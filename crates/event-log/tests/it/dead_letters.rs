use bytes::Bytes;
use event::{PartitionId, Position, TenantId, Timestamp};
use event_log::{DeadLetter, EventLog};
use testkit::Nats;

fn letter(partition: u16, seq: u64) -> DeadLetter {
    DeadLetter {
        position: Position::new(PartitionId::first(partition), seq, 0),
        received_at: Timestamp::from_micros(1_000_000),
        reason: "no frame:\r\nX: y".to_owned(),
        tenant: Some(TenantId::default_tenant()),
        payload: Bytes::from_static(b"\x00\xff"),
    }
}

async fn log() -> (Nats, EventLog) {
    let nats = Nats::start().await;
    let log = EventLog::connect(&nats.url, "test").await.unwrap();
    (nats, log)
}

#[tokio::test]
async fn a_dead_letter_is_stored_once_and_read_back_unchanged_until_it_is_deleted() {
    let (_nats, log) = log().await;
    assert!(log.dead_letters().await.unwrap().is_empty());
    let (first, other) = (letter(0, 7), letter(1, 3));
    log.store_dead_letter(&other).await.unwrap();
    for _ in 0..2 {
        log.store_dead_letter(&first).await.unwrap();
    }

    let mut read = log.dead_letters().await.unwrap();

    assert_eq!(read[0].reason, "no frame:  X: y", "one line");
    read[0].reason.clone_from(&first.reason);
    read[1].reason.clone_from(&other.reason);
    assert_eq!(read, [first.clone(), other]);
    let open = log.open_dead_letters(PartitionId::first(0)).await.unwrap();
    assert!(open.contains(7) && !open.contains(3));
    assert!(log.delete_dead_letter(first.position).await.unwrap());
    assert!(!log.delete_dead_letter(first.position).await.unwrap());
    assert_eq!(log.dead_letter(first.position).await.unwrap(), None);
    let open = log.open_dead_letters(PartitionId::first(0)).await.unwrap();
    assert!(open.is_empty());
}
