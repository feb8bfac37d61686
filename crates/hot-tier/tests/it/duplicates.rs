use event::Seq;
use hot_tier::{Appended, Bounds, DuplicateEvent, Limits, Marked, Order};

use crate::world::{PARTITION, World, at, conversation, offsets, on_each_server, pack, tenant};

fn duplicate(name: &str, seq: Seq) -> DuplicateEvent {
    DuplicateEvent {
        tenant: tenant(),
        conversation: conversation(name),
        seq,
        idx: 0,
    }
}

impl World {
    async fn mark(&self, after: Seq, through: Seq, duplicates: &[DuplicateEvent]) -> Marked {
        let mark = self
            .writer
            .mark_duplicates(PARTITION, after, through, duplicates);
        mark.await.unwrap()
    }
}

#[tokio::test]
async fn duplicates_are_filtered_out_and_checked_moves_with_them() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        world.append("a", 1..=5).await;

        assert_eq!(world.mark(0, 3, &[duplicate("a", 2)]).await, Marked::Ok);
        assert_eq!(world.mark(3, 5, &[duplicate("a", 5)]).await, Marked::Ok);

        assert_eq!(world.offsets("a").await, [(1, 0), (3, 0), (4, 0)]);
        assert_eq!(world.read("a").await.checked, 5);
        assert_eq!(
            world.mark(0, 3, &[duplicate("a", 2)]).await,
            Marked::Ok,
            "again"
        );
        assert_eq!(world.read("a").await.checked, 5);
    })
    .await;
}

#[tokio::test]
async fn a_mark_behind_a_gap_is_refused() {
    on_each_server(async |world: World| {
        assert_eq!(world.mark(0, 3, &[]).await, Marked::NoCursor);
        world.writer.start(PARTITION, 4).await.unwrap();

        assert_eq!(world.mark(7, 9, &[]).await, Marked::Gap { checked: 3 });

        assert_eq!(world.mark(3, 9, &[]).await, Marked::Ok);
    })
    .await;
}

#[tokio::test]
async fn a_duplicate_marked_before_it_is_written_is_filtered_out_too() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        assert_eq!(world.mark(0, 2, &[duplicate("a", 2)]).await, Marked::Ok);

        assert_eq!(world.append("a", 1..=2).await, Appended::Ok);

        assert_eq!(world.offsets("a").await, [(1, 0)]);
    })
    .await;
}

#[tokio::test]
async fn a_trim_removes_the_duplicates_of_the_events_that_it_removes() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        world.append("a", 1..=2).await;
        world.append("a", 3..=4).await;
        world
            .mark(0, 4, &[duplicate("a", 2), duplicate("a", 4)])
            .await;
        let key = "SMEMBERS {g1p03}:d:default:a";

        world.trim("a", limits(2)).await;
        assert_eq!(world.server.command(key).await, "*1\r\n$3\r\n4-0\r\n");

        world.trim("a", limits(4)).await;
        assert!(world.keys().await.is_empty());
        world.mark(0, 4, &[duplicate("a", 2)]).await;
        assert!(world.keys().await.is_empty(), "there is no event to mark");
    })
    .await;
}

/// The compactor is ahead of the hot-writer, and a trim comes in between.
#[tokio::test]
async fn a_duplicate_marked_before_it_is_written_outlives_the_events_before_it() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        world.append("a", 1..=2).await;
        world
            .mark(0, 4, &[duplicate("a", 2), duplicate("a", 4)])
            .await;

        world.trim("a", limits(2)).await;
        let key = "SMEMBERS {g1p03}:d:default:a";
        assert_eq!(world.server.command(key).await, "*1\r\n$3\r\n4-0\r\n");
        world.append("a", 3..=4).await;

        assert_eq!(world.offsets("a").await, [(3, 0)]);
        world.trim("a", limits(4)).await;
        assert!(world.keys().await.is_empty(), "nothing is left behind");
    })
    .await;
}

#[tokio::test]
async fn a_page_asks_only_whether_its_own_events_are_duplicates() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        for seq in 1..=50 {
            world.append("a", seq..=seq).await;
        }
        let many = (1..=5_000).filter(|seq| *seq != 49);
        let many: Vec<_> = many.map(|seq| duplicate("a", seq)).collect();
        world.mark(0, 5_000, &many).await;
        world.server.command("CONFIG RESETSTAT").await;

        let read = world
            .read_within("a", Bounds::default(), Order::Descending, 1)
            .await;

        assert_eq!(offsets(&read.unwrap()), [(49, 0)]);
        let calls = world.server.command("INFO commandstats").await;
        assert!(!calls.contains("cmdstat_smembers"), "{calls}");
        // A page of one entry, which is a duplicate, and one of two.
        assert!(calls.contains("cmdstat_smismember:calls=2,"), "{calls}");
    })
    .await;
}

#[tokio::test]
async fn a_read_that_meets_only_duplicates_ends_early_and_says_where_to_read_on() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        let frames = 100;
        for seq in 1..=frames {
            let frame: Vec<_> = (0..500).map(|idx| (seq, idx)).collect();
            let packs = [pack("a", &frame)];
            let appended = world.writer.append(PARTITION, seq - 1, seq, &packs);
            assert_eq!(appended.await.unwrap(), Appended::Ok);
        }
        for seq in 2..=frames {
            let frame = (0..500).map(|idx| DuplicateEvent {
                idx,
                ..duplicate("a", seq)
            });
            world.mark(0, seq, &frame.collect::<Vec<_>>()).await;
        }
        for order in [Order::Ascending, Order::Descending] {
            let (mut bounds, mut rows, mut reads) = (Bounds::default(), 0, 0);
            loop {
                let read = world.read_within("a", bounds, order, 1_000).await.unwrap();
                (rows, reads) = (rows + read.rows.len(), reads + 1);
                match (read.reached, order) {
                    (None, _) => break,
                    (after, Order::Ascending) => bounds.after = after,
                    (before, Order::Descending) => bounds.before = before,
                }
            }
            assert_eq!(rows, 500, "each row once");
            assert!(
                (2..=5).contains(&reads),
                "{reads} reads of 49,500 duplicates"
            );
        }
    })
    .await;
}

fn limits(sealed: Seq) -> Limits {
    Limits {
        older_than: at(100),
        max_events: None,
        sealed,
    }
}
