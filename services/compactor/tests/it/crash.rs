use crate::world::{World, assert_once};

const CRASHES: u64 = 10;
const EVENTS: u64 = 6_000;
const PER_FRAME: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_compactor_killed_again_and_again_stores_every_event_once_without_a_gap() {
    let world = World::start().await;
    // Seals and merges as often as can be, so that the kills meet them.
    let often = ["--seal-after", "50ms"];
    for crash in 0..CRASHES {
        let compactor = world.compactor(&often);
        let published = crash * EVENTS / CRASHES..(crash + 1) * EVENTS / CRASHES;
        let frames = published.end / PER_FRAME as u64;
        let killed_at = frames - crash * 3;
        tokio::join!(world.publish(published, PER_FRAME), async {
            world.until_committed(killed_at).await;
            compactor.kill().await;
        });
    }

    let compactor = world.compactor(&often);
    let coverage = world.until_sealed().await;

    assert_once(&world.stored().await, EVENTS);
    for partition in coverage.partitions {
        assert_eq!(partition.first, 1);
        assert!(partition.gaps.is_empty());
        let rows: u64 = partition.slices.iter().map(|slice| slice.rows).sum();
        let own = world.stored().await;
        let own = own
            .iter()
            .filter(|e| e.position.partition == partition.partition);
        assert_eq!(rows, own.count() as u64);
    }
    assert!(compactor.stop().await.success());
}
