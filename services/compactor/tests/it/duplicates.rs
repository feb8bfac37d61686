use std::fs;

use event::{PartitionCount, PartitionId};
use hot_tier::HotWriter;
use testkit::{Valkey, eventually};

use crate::{
    tiering::{archive, short},
    world::{PARTITIONS, World, assert_once},
};

const DROPPED: &str = "isotherm_tier_removed_events_total{reason=\"duplicate\",tier=\"warm\"}";

#[tokio::test(flavor = "multi_thread")]
async fn events_sent_again_in_other_frames_are_dropped_once() {
    let world = World::start().await;
    let compactor = world.compactor(&["--seal-after", "200ms"]);
    world.publish(0..600, 10).await;
    world.until_sealed().await;
    // Some against the sealed segment, some within the open one, and after a restart.
    world.publish(300..900, 7).await;
    world.publish(600..900, 13).await;
    world.until_sealed().await;
    assert_eq!(world.metric(DROPPED).await, 600.0);
    assert!(compactor.stop().await.success());

    let compactor = world.compactor(&["--seal-after", "200ms"]);
    world.publish(0..900, 9).await;
    world.until_sealed().await;

    assert_eq!(world.metric(DROPPED).await, 900.0);
    assert_once(&world.stored().await, 900);
    assert!(compactor.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_are_published_to_the_hot_tier_and_again_after_it_lost_its_data() {
    let world = World::start().await;
    let valkey = Valkey::start().await;
    let hot = HotWriter::connect(&valkey.url).await.unwrap();
    let all = || PartitionCount::new(PARTITIONS).unwrap().all();
    for partition in all() {
        hot.start(partition, 1).await.unwrap();
    }
    let compactor = world.compactor(&["--seal-after", "300ms", "--redis-url", &valkey.url]);
    world.publish(0..300, 10).await;
    world.publish(100..300, 7).await;
    let last = world.last().await;
    let published = async || {
        for partition in all() {
            let cursor = hot.cursor(partition).await.unwrap();
            if cursor.is_none_or(|cursor| cursor.checked != last[&partition]) {
                return false;
            }
        }
        true
    };
    eventually("the hot tier knows", published).await;

    valkey.flush().await;
    for partition in all() {
        hot.start(partition, 1).await.unwrap();
    }

    eventually("the hot tier knows again", published).await;
    assert!(valkey.command("KEYS *:d:*").await.contains("conversation"));
    assert!(compactor.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_whose_lost_ids_cannot_be_read_again_waits_and_the_others_go_on() {
    let world = World::start().await;
    world.log.publish_policy(&short()).await.unwrap();
    let (url, cold) = world.cold().await;
    let args = ["--seal-after", "200ms", "--cold-url", &url];
    let compactor = world.compactor(&args);
    world.publish(0..300, 10).await;
    let coverage = world.until_sealed().await;
    archive(&world, &cold, &coverage, true).await;
    eventually("nothing is left in warm", async || {
        world.stored().await.is_empty()
    })
    .await;
    assert!(compactor.stop().await.success());
    let (halted, other) = (PartitionId::first(0), PartitionId::first(1));
    for entry in fs::read_dir(world.data().join("g1/p00/e1")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("ids-") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let log = format!("{url}/events/_delta_log/{:020}.json", 0);
    let text = fs::read(&log).unwrap();
    fs::write(&log, "damaged").unwrap();

    let _compactor = world.compactor(&args);
    eventually("it says what it waits for", async || {
        world
            .readiness()
            .await
            .contains("g1p00e1 takes nothing from the log")
    })
    .await;
    world.publish(0..300, 7).await;
    let last = world.last().await;
    let committed = async |partition| {
        let coverage = world.client().coverage().await.unwrap();
        coverage.partition(partition).unwrap().committed
    };
    eventually("the other partition goes on", async || {
        committed(other).await == last[&other]
    })
    .await;
    assert!(committed(halted).await < last[&halted]);

    fs::write(&log, text).unwrap();
    world.until_sealed().await;
    assert_eq!(world.stored().await, [], "every event is a repeat");
}
