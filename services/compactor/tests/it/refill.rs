//! Files of the warm volume that are lost while the log still has their range.

use event::PartitionId;
use retention::RuleSet;
use testkit::{Service, eventually};

use crate::{
    tiering::short,
    world::{World, assert_once},
};

const PARTITION: PartitionId = PartitionId::first(0);
const ARGS: [&str; 2] = ["--seal-after", "200ms"];

/// Removes the files of the partition whose names begin with one of `prefixes`.
fn lose(world: &World, prefixes: &[&str]) {
    let dir = world.data().join("g1/p00/e1");
    let mut removed = 0;
    for file in std::fs::read_dir(&dir).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            std::fs::remove_file(dir.join(name)).unwrap();
            removed += 1;
        }
    }
    assert!(removed >= prefixes.len());
}

async fn until_refilled(world: &World) {
    let client = world.client();
    eventually("the gap is filled", async || {
        client.coverage().await.is_ok_and(|coverage| {
            let own = coverage.partition(PARTITION);
            own.is_some_and(|own| own.gaps.is_empty() && !own.slices.is_empty())
        })
    })
    .await;
}

/// The first 300 events, some of them twice, sealed by `rules`.
async fn sealed(world: &World, rules: &RuleSet) {
    world.log.publish_policy(rules).await.unwrap();
    let compactor = world.compactor(&ARGS);
    world.publish(0..300, 10).await;
    world.publish(0..100, 7).await;
    world.until_sealed().await;
    assert!(compactor.stop().await.success());
}

async fn stop(compactor: Service) {
    assert!(compactor.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_slice_is_refilled_from_the_log() {
    let world = World::start().await;
    sealed(&world, &RuleSet::default()).await;
    lose(&world, &["L"]);

    let compactor = world.compactor(&ARGS);

    until_refilled(&world).await;
    assert_once(&world.stored().await, 300);
    stop(compactor).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_and_its_ids_that_are_lost_together_come_back_and_repeats_are_still_known() {
    let world = World::start().await;
    sealed(&world, &RuleSet::default()).await;
    lose(&world, &["L", "ids-"]);

    let compactor = world.compactor(&ARGS);
    world.publish(0..300, 9).await;
    world.until_sealed().await;

    until_refilled(&world).await;
    assert_once(&world.stored().await, 300);
    stop(compactor).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_that_are_lost_after_the_rules_have_changed_come_back() {
    let world = World::start().await;
    let mut two = short();
    two.policies[0].selector.event_types = vec!["error".to_owned()];
    sealed(&world, &two).await;
    lose(&world, &["L0-"]);
    world.log.publish_policy(&RuleSet::default()).await.unwrap();

    let compactor = world.compactor(&ARGS);

    until_refilled(&world).await;
    assert_once(&world.stored().await, 300);
    stop(compactor).await;
}
