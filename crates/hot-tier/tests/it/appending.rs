use event::PartitionId;
use hot_tier::{Appended, Bounds, Error, Order};

use crate::world::{PARTITION, World, event, on_each_server, pack};

#[tokio::test]
async fn what_was_appended_is_read_back_complete_and_in_order() {
    on_each_server(async |world: World| {
        assert_eq!(world.writer.cursor(PARTITION).await.unwrap(), None);
        world.writer.start(PARTITION, 1).await.unwrap();
        assert_eq!(world.append("a", 1..=3).await, Appended::Ok);
        assert_eq!(world.append("b", 4..=5).await, Appended::Ok);
        assert_eq!(world.append("a", 6..=6).await, Appended::Ok);

        let read = world.read("a").await;

        assert_eq!(world.offsets("a").await, [(1, 0), (2, 0), (3, 0), (6, 0)]);
        assert_eq!(read.rows[3].event, event("a", (6, 0)));
        assert_eq!((read.floor, read.last, read.checked), (1, 6, 0));
        assert!(world.read("c").await.rows.is_empty());
        let stats = world.writer.stats(PARTITION).await.unwrap().unwrap();
        assert_eq!(stats.cursor.events, 6);
        assert_eq!(stats.oldest_at, Some(crate::world::at(1)));
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_does_not_begin_at_the_cursor_changes_nothing() {
    on_each_server(async |world: World| {
        assert_eq!(world.append("a", 1..=3).await, Appended::Gap, "no cursor");
        world.writer.start(PARTITION, 1).await.unwrap();
        assert_eq!(world.append("a", 1..=3).await, Appended::Ok);

        assert_eq!(world.append("a", 1..=3).await, Appended::Gap, "again");
        assert_eq!(world.append("a", 3..=5).await, Appended::Gap, "overlap");
        assert_eq!(world.append("a", 6..=7).await, Appended::Gap, "gap");

        assert_eq!(world.offsets("a").await, [(1, 0), (2, 0), (3, 0)]);
    })
    .await;
}

#[tokio::test]
async fn writers_that_race_neither_lose_nor_repeat() {
    const LAST: u64 = 400;
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        let race = async |step: u64| {
            loop {
                let cursor = world.writer.cursor(PARTITION).await.unwrap().unwrap();
                if cursor.last == LAST {
                    return;
                }
                let end = (cursor.last + step).min(LAST);
                world.append("a", cursor.last + 1..=end).await;
            }
        };

        tokio::join!(race(1), race(3), race(7));

        let expected: Vec<_> = (1..=LAST).map(|seq| (seq, 0)).collect();
        assert_eq!(world.offsets("a").await, expected);
    })
    .await;
}

#[tokio::test]
async fn a_batch_without_events_still_moves_the_cursor() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 5).await.unwrap();
        let appended = world.writer.append(PARTITION, 4, 9, &[]).await;
        assert_eq!(appended.unwrap(), Appended::Ok);
        let cursor = world.writer.cursor(PARTITION).await.unwrap().unwrap();
        assert_eq!((cursor.floor, cursor.last, cursor.checked), (5, 9, 4));
    })
    .await;
}

#[tokio::test]
async fn an_older_epoch_is_cleared_and_a_later_one_is_kept() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        world.append("a", 1..=3).await;
        let later = PartitionId {
            epoch: 2,
            ..PARTITION
        };
        assert_eq!(world.writer.cursor(later).await.unwrap(), None);

        let cursor = world.writer.start(later, 1).await.unwrap();

        assert_eq!((cursor.last, cursor.events), (0, 0));
        assert!(world.keys().await.is_empty());
        let packs = [pack("a", &[(1, 0)])];
        let appended = world.writer.append(later, 0, 1, &packs).await;
        assert_eq!(appended.unwrap(), Appended::Ok);
        assert_eq!(world.append("a", 1..=1).await, Appended::Gap);
        let error = world.writer.start(PARTITION, 1).await.unwrap_err();
        assert!(matches!(error, Error::Setup(_)), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_second_start_keeps_the_cursor() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        world.append("a", 1..=3).await;

        let cursor = world.writer.start(PARTITION, 9).await.unwrap();

        assert_eq!((cursor.floor, cursor.last), (1, 3));
    })
    .await;
}

#[tokio::test]
async fn what_the_log_no_longer_has_is_skipped_and_raises_the_floor() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        world.append("a", 1..=3).await;

        let late = world.writer.skip(PARTITION, 2, 9).await.unwrap();
        let skipped = world.writer.skip(PARTITION, 3, 9).await.unwrap();

        assert_eq!((late, skipped), (Appended::Gap, Appended::Ok));
        assert_eq!(world.append("a", 9..=9).await, Appended::Ok);
        assert_eq!(world.offsets("a").await, [(9, 0)]);
        assert_eq!(world.read("a").await.floor, 9);
    })
    .await;
}

#[tokio::test]
async fn there_is_nothing_before_the_lowest_offset() {
    on_each_server(async |world| {
        world.writer.start(PARTITION, 1).await.unwrap();
        world.append("a", 1..=3).await;
        let bounds = Bounds {
            before: Some((0, 0)),
            ..Bounds::default()
        };
        for order in [Order::Ascending, Order::Descending] {
            let read = world.read_within("a", bounds, order, 10).await.unwrap();
            assert_eq!(read.rows, [], "{order:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_refuses_its_pack_leaves_no_gap_below_the_cursor() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        world.append("a", 1..=3).await;
        let later = "XADD {g1p03}:c:default:b 9-0 p damaged";
        world.server.command(later).await;

        let packs = [pack("a", &[(4, 0)]), pack("b", &[(5, 0)])];
        let appended = world.writer.append(PARTITION, 3, 5, &packs).await;

        let error = appended.unwrap_err();
        assert!(!error.is_transient(), "{error:?}");
        assert_eq!(world.writer.cursor(PARTITION).await.unwrap(), None);
        world.writer.start(PARTITION, 4).await.unwrap();
        let again = world.writer.append(PARTITION, 3, 5, &packs).await;
        assert_eq!(again.unwrap(), Appended::Ok);
        assert_eq!(world.offsets("b").await, [(5, 0)]);
        assert_eq!(world.read("a").await.floor, 4);
    })
    .await;
}
