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
    assert!(world.log.delete_dead_letter(letter.position).await.unwrap());
    let (_, page) = world.json(&path).await;
    assert_eq!(
        (&page["complete"], &page["missing"]),
        (&json!(true), &json!([])),
        "{page}"
    );
}
