use event::Seq;
use hot_tier::{Appended, DuplicateEvent, Limits, Marked};

use crate::world::{PARTITION, World, at, conversation, on_each_server, tenant};

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

fn limits(sealed: Seq) -> Limits {
    Limits {
        older_than: at(100),
        max_events: None,
        sealed,
    }
}
