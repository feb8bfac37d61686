use bytes::Bytes;
use event::{PartitionCount, PartitionId, Position, SeqRange, TenantId, Timestamp};
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
    assert!(log.close_dead_letter(first.position).await.unwrap());
    assert!(!log.close_dead_letter(first.position).await.unwrap());
    assert_eq!(log.dead_letter(first.position).await.unwrap(), None);
    let open = log.open_dead_letters(PartitionId::first(0)).await.unwrap();
    assert!(open.is_empty());
}

#[tokio::test]
async fn a_closed_dead_letter_stays_closed_until_its_frame_has_left_the_log() {
    let (_nats, log) = log().await;
    let count = PartitionCount::new(1).unwrap();
    log.ensure_streams(count, 1, None).await.unwrap();
    let partition = PartitionId::first(0);
    for id in ["1", "2", "3", "4"] {
        let payload = Bytes::from_static(b"no frame");
        let appended = log.append(partition, id, payload, Vec::new());
        appended.await.unwrap();
    }
    for seq in [1, 3] {
        let letter = letter(0, seq);
        log.store_dead_letter(&letter).await.unwrap();
        assert!(log.close_dead_letter(letter.position).await.unwrap());
    }

    // The warm volume was lost: the compactor begins at the first frame, and has seen none yet.
    let all = SeqRange { lo: 1, hi: 4 }.into();
    let undecided = log.undecided(partition, &all).await.unwrap();
    assert_eq!(
        undecided.ranges(),
        [2, 4].map(|seq| SeqRange { lo: seq, hi: seq })
    );
    for seq in [1, 2, 3] {
        log.store_dead_letter(&letter(0, seq)).await.unwrap();
    }
    let open = log.open_dead_letters(partition).await.unwrap();
    assert_eq!(open.ranges(), [SeqRange { lo: 2, hi: 2 }]);

    log.purge_through(partition, 2).await.unwrap();
    let closed = log.closed_dead_letters(partition).await.unwrap();
    assert_eq!(closed.ranges(), [SeqRange { lo: 3, hi: 3 }]);
}
