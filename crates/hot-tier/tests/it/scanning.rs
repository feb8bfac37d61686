use hot_tier::{Error, HotScan, Limits};

use crate::world::{PARTITION, World, at, conversation, on_each_server, tenant};

async fn write_three_packs(world: &World) {
    world.writer.start(PARTITION, 1).await.unwrap();
    world.append("a", 1..=3).await;
    world.append("b", 4..=5).await;
    world.append("a", 6..=8).await;
}

fn seqs(scan: &HotScan) -> Vec<u64> {
    scan.rows.iter().map(|row| row.position.seq).collect()
}

#[tokio::test]
async fn a_scan_returns_every_row_behind_a_sequence_in_the_order_of_the_log() {
    on_each_server(async |world: World| {
        write_three_packs(&world).await;

        let scan = world.reader.read_all(PARTITION, 0, 100_000).await;
        let behind = world.reader.read_all(PARTITION, 4, 100_000).await;

        let (scan, behind) = (scan.unwrap().unwrap(), behind.unwrap().unwrap());
        assert_eq!(seqs(&scan), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!((scan.floor, scan.last), (1, 8));
        assert_eq!(seqs(&behind), [5, 6, 7, 8]);
        assert_eq!(behind.floor, 5);
        let both = [(tenant(), conversation("a")), (tenant(), conversation("b"))];
        assert_eq!(world.reader.conversations(PARTITION).await.unwrap(), both);
    })
    .await;
}

#[tokio::test]
async fn a_scan_names_the_conversations_with_a_higher_floor() {
    on_each_server(async |world: World| {
        write_three_packs(&world).await;
        world.append("c", 9..=9).await;
        let limits = Limits {
            older_than: at(0),
            max_events: Some(0),
            sealed: 5,
        };
        world.trim("b", limits).await;

        let scan = world.reader.read_all(PARTITION, 0, 100_000).await;

        let scan = scan.unwrap().unwrap();
        assert_eq!(seqs(&scan), [1, 2, 3, 6, 7, 8, 9]);
        assert_eq!(scan.raised, [(tenant(), conversation("b"), 6)]);
    })
    .await;
}

#[tokio::test]
async fn a_scan_that_is_too_large_is_refused() {
    on_each_server(async |world: World| {
        write_three_packs(&world).await;
        let error = world.reader.read_all(PARTITION, 0, 50).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge(50)), "{error:?}");
    })
    .await;
}
