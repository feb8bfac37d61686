use bytes::Bytes;
use event::{ConversationId, PartitionId, TenantId};
use serde_json::json;
use testkit::eventually;

use crate::world::{CONVERSATIONS, World, count, id, numbers};

/// The partition of conversation 0.
fn partition() -> PartitionId {
    let conversation = ConversationId::new(&id(0)).unwrap();
    count().partition_of(&TenantId::default_tenant(), &conversation)
}

#[tokio::test]
async fn an_open_dead_letter_is_named_to_every_reader_of_its_range_and_a_dropped_one_is_not() {
    let world = World::start().await;
    world.publish(0..20, 4).await;
    let partition = partition();
    let payload = Bytes::from_static(b"this is no frame");
    let appended = world.log.append(partition, "damaged", payload, Vec::new());
    let seq = appended.await.unwrap().seq;
    let missing = json!([{"partition": partition.to_string(), "from": seq, "to": seq}]);

    // From the log, before any consumer has passed over the frame, and from the hot tier after that.
    let path = format!("/v1/conversations/{}/events?order=asc&limit=1000", id(0));
    let (status, page) = world.json(&path).await;
    assert_eq!(status, 200, "{page}");
    assert_eq!(
        (&page["complete"], &page["missing"]),
        (&json!(false), &missing),
        "{page}"
    );
    world.publish(20..40, 4).await;
    let (_writer, _compactor) = (world.hot_writer(), world.compactor(&[]));
    world.until("hot", "last").await;
    eventually("the dead letter is stored", async || {
        !world.log.dead_letters().await.unwrap().is_empty()
    })
    .await;

    let (_, page) = world.json(&path).await;
    assert_eq!(
        (&page["complete"], &page["missing"]),
        (&json!(false), &missing),
        "{page}"
    );
    let expected: Vec<u64> = (0..40).filter(|n| n % CONVERSATIONS == 0).collect();
    assert_eq!(numbers(&page), expected);
    let (status, answer) = world.sql("SELECT count(*) AS n FROM events").await;
    assert_eq!((status, &answer["missing"]), (200, &missing), "{answer}");

    let letter = world.log.dead_letters().await.unwrap().remove(0);
    assert!(world.log.close_dead_letter(letter.position).await.unwrap());
    let (_, page) = world.json(&path).await;
    assert_eq!(
        (&page["complete"], &page["missing"]),
        (&json!(true), &json!([])),
        "{page}"
    );
}

#[tokio::test]
async fn a_dropped_dead_letter_is_not_named_when_the_log_itself_is_read() {
    let world = World::start().await;
    world.publish(0..20, 4).await;
    let partition = partition();
    for name in ["dropped", "open"] {
        let payload = Bytes::from_static(b"this is no frame");
        let appended = world.log.append(partition, name, payload, Vec::new());
        appended.await.unwrap();
    }
    let compactor = world.compactor(&[]);
    world.until("warm", "committed").await;
    let mut letters = world.log.dead_letters().await.unwrap();
    let dropped = letters.remove(0).position;
    assert!(world.log.close_dead_letter(dropped).await.unwrap());
    let named = |seqs: &[u64]| {
        let named = seqs.iter();
        named
            .map(|seq| json!({"partition": partition.to_string(), "from": seq, "to": seq}))
            .collect::<Vec<_>>()
    };
    let open = letters.remove(0).position.seq;

    // There is no hot tier, and nothing is sealed.
    let (status, answer) = world.sql("SELECT count(*) AS n FROM events").await;
    assert_eq!((status, &answer["missing"]), (200, &json!(named(&[open]))));
    assert!(compactor.stop().await.success());
    let path = format!("/v1/conversations/{}/events?order=asc&limit=1000", id(0));
    let (_, page) = world.json(&path).await;
    assert_eq!(page["missing"], json!(named(&[open])), "{page}");

    // The compactor has not seen this one, so nobody has decided about it.
    let payload = Bytes::from_static(b"this is no frame either");
    let appended = world.log.append(partition, "unseen", payload, Vec::new());
    let unseen = appended.await.unwrap().seq;
    assert_eq!(unseen, open + 1);
    let (_, page) = world.json(&path).await;
    let both = json!([{"partition": partition.to_string(), "from": open, "to": unseen}]);
    assert_eq!(page["missing"], both, "{page}");
}
