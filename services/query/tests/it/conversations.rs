use serde_json::Value;

use crate::world::{World, id};

/// The page behind `after`: its conversations with their numbers of events, and its `next`.
async fn page(world: &World, after: Option<&str>) -> (Vec<(String, u64)>, Option<String>) {
    let after = after.map(|after| format!("&after={after}"));
    let path = format!("/v1/conversations?limit=1{}", after.unwrap_or_default());
    let (status, answer) = world.json(&path).await;
    assert_eq!(
        (status, &answer["complete"]),
        (200, &Value::Bool(true)),
        "{answer}"
    );
    let list = answer["conversations"].as_array().unwrap().iter();
    let list = list.map(|conversation| {
        let id = conversation["conversation_id"].as_str().unwrap();
        (id.to_owned(), conversation["events"].as_u64().unwrap())
    });
    (list.collect(), answer["next"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn a_listing_has_each_conversation_once_although_some_change_meanwhile() {
    let world = World::start().await;
    let (_writer, _compactor) = (world.hot_writer(), world.compactor(&["--seal-after", "1s"]));
    world.publish(0..30, 3).await;
    let (first, next) = page(&world, None).await;
    assert_eq!(first, [(id(2), 10)]);

    // Those of the last page and of the first one move to the front.
    world.publish(30..31, 1).await;
    world.publish(32..33, 1).await;
    world.until("warm", "sealed").await;
    let (second, next) = page(&world, next.as_deref()).await;
    assert_eq!(second, [(id(1), 10)]);
    let (third, next) = page(&world, next.as_deref()).await;
    assert_eq!(third, [(id(0), 10)]);
    assert_eq!(next, None);
    let (newest, _) = page(&world, None).await;
    assert_eq!(newest, [(id(2), 11)]);
}
