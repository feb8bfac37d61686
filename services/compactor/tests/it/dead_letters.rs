use bytes::Bytes;
use event::{PartitionId, SeqRange};
use testkit::eventually;

use crate::world::World;

const PARTITION: PartitionId = PartitionId::first(0);

impl World {
    async fn publish_raw(&self, id: &str, payload: &'static [u8]) -> u64 {
        let payload = Bytes::from_static(payload);
        let appended = self.log.append(PARTITION, id, payload, Vec::new());
        appended.await.unwrap().seq
    }
}

#[tokio::test]
async fn a_frame_that_cannot_be_read_is_kept_as_a_dead_letter_whatever_crashes() {
    let world = World::start().await;
    world.publish(0..20, 5).await;
    let seq = world.publish_raw("damaged", b"this is no frame").await;
    world.publish(20..40, 5).await;

    for _ in 0..2 {
        let compactor = world.compactor(&["--seal-after", "1h"]);
        eventually("the dead letter is stored", async || {
            !world.log.dead_letters().await.unwrap().is_empty()
        })
        .await;
        compactor.kill().await;
    }
    let _compactor = world.compactor(&["--seal-after", "100ms"]);
    let coverage = world.until_sealed().await;

    let letters = world.log.dead_letters().await.unwrap();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(
        (letters[0].position.partition, letters[0].position.seq),
        (PARTITION, seq)
    );
    assert_eq!(&letters[0].payload[..], b"this is no frame");
    assert!(
        letters[0].reason.contains("protobuf"),
        "{}",
        letters[0].reason
    );
    assert_eq!(coverage.partition(PARTITION).unwrap().dead_letters, 1);
    let open = world.log.open_dead_letters(PARTITION).await.unwrap();
    assert_eq!(open.ranges(), [SeqRange { lo: seq, hi: seq }]);
}

#[tokio::test]
async fn a_flood_halts_the_partition_and_accepting_it_lets_it_go_on() {
    let world = World::start().await;
    for id in [
        "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12",
    ] {
        world.publish_raw(id, b"this is no frame").await;
    }
    let compactor = world.compactor(&["--seal-after", "100ms"]);
    eventually("it says what to do", async || {
        let ready = world.readiness().await;
        ready.contains("stopped before frame 11") && ready.contains("--accept-dead-letters")
    })
    .await;
    assert_eq!(world.log.dead_letters().await.unwrap().len(), 10);
    assert!(compactor.stop().await.success());

    // A restart does not let ten more pass.
    let compactor = world.compactor(&["--seal-after", "100ms"]);
    eventually("it stops at the same frame", async || {
        let ready = world.readiness().await;
        ready.contains("stopped before frame 11")
    })
    .await;
    assert_eq!(world.log.dead_letters().await.unwrap().len(), 10);
    assert!(compactor.stop().await.success());

    let _compactor = world.compactor(&["--seal-after", "100ms", "--accept-dead-letters"]);
    world.until_sealed().await;
    assert_eq!(world.log.dead_letters().await.unwrap().len(), 12);
}

#[tokio::test]
async fn what_a_person_has_dropped_stays_dropped_when_the_warm_volume_is_lost() {
    let world = World::start().await;
    world.publish(0..20, 5).await;
    // So many that they would be a flood.
    for id in [
        "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12",
    ] {
        world.publish_raw(id, b"this is no frame").await;
    }
    let args = ["--seal-after", "100ms", "--accept-dead-letters"];
    let compactor = world.compactor(&args);
    world.until_sealed().await;
    let mut letters = world.log.dead_letters().await.unwrap();
    assert_eq!(letters.len(), 12);
    let left = letters.pop().unwrap();
    for letter in letters {
        let closed = world.log.close_dead_letter(letter.position).await;
        assert!(closed.unwrap());
    }
    assert!(compactor.stop().await.success());

    std::fs::remove_dir_all(world.data()).unwrap();
    let _compactor = world.compactor(&["--seal-after", "100ms"]);
    world.until_sealed().await;

    assert_eq!(world.log.dead_letters().await.unwrap(), [left]);
}
