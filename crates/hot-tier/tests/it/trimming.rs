use event::Seq;
use hot_tier::{Limits, Trimmed};

use crate::world::{PARTITION, World, at, conversation, on_each_server, tenant};

const ALL_SEALED: Seq = 1_000;

fn limits(older_than: Seq, max_events: Option<u64>, sealed: Seq) -> Limits {
    Limits {
        older_than: at(older_than),
        max_events,
        sealed,
    }
}

fn trimmed(by_age: u64, by_count: u64) -> Trimmed {
    Trimmed { by_age, by_count }
}

async fn append_pairs(world: &World) {
    world.writer.start(PARTITION, 1).await.unwrap();
    for seq in [1, 3, 5, 7] {
        world.append("a", seq..=seq + 1).await;
    }
}

#[tokio::test]
async fn an_entry_is_removed_when_its_last_event_is_too_old() {
    on_each_server(async |world: World| {
        append_pairs(&world).await;

        assert_eq!(
            world.trim("a", limits(4, None, ALL_SEALED)).await,
            trimmed(2, 0)
        );
        assert_eq!(world.read("a").await.floor, 3);
        assert_eq!(
            world.trim("a", limits(5, None, ALL_SEALED)).await,
            trimmed(2, 0)
        );

        let read = world.read("a").await;
        assert_eq!((read.floor, read.last), (5, 8));
        assert_eq!(world.offsets("a").await, [(5, 0), (6, 0), (7, 0), (8, 0)]);
        let stats = world.writer.stats(PARTITION).await.unwrap().unwrap();
        assert_eq!(stats.cursor.events, 4);
        assert_eq!(stats.oldest_at, Some(at(5)));
    })
    .await;
}

#[tokio::test]
async fn nothing_is_trimmed_that_is_not_sealed() {
    on_each_server(async |world: World| {
        append_pairs(&world).await;
        assert_eq!(
            world.trim("a", limits(100, Some(0), 0)).await,
            trimmed(0, 0)
        );
        assert_eq!(
            world.trim("a", limits(100, Some(0), 3)).await,
            trimmed(2, 0)
        );
        assert_eq!(world.read("a").await.floor, 3);
        assert_eq!(world.offsets("a").await.len(), 6);
    })
    .await;
}

#[tokio::test]
async fn a_trim_by_count_raises_the_floor_of_that_conversation_alone() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        world.append("b", 1..=1).await;
        for seq in 2..=9 {
            world.append("a", seq..=seq).await;
        }

        assert_eq!(
            world.trim("a", limits(0, Some(3), ALL_SEALED)).await,
            trimmed(0, 5)
        );

        assert_eq!(world.read("a").await.floor, 7);
        assert_eq!(world.offsets("a").await, [(7, 0), (8, 0), (9, 0)]);
        assert_eq!(world.read("b").await.floor, 1);
        assert_eq!(world.offsets("b").await, [(1, 0)]);

        world.trim("b", limits(9, None, ALL_SEALED)).await;
        assert_eq!(world.read("b").await.floor, 7, "nothing is left below");
        assert!(!world.keys().await.contains(&"{g1p03}:floors".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn a_conversation_without_events_leaves_no_key_behind() {
    on_each_server(async |world: World| {
        append_pairs(&world).await;

        assert_eq!(
            world.trim("a", limits(100, None, ALL_SEALED)).await,
            trimmed(8, 0)
        );

        assert!(world.keys().await.is_empty(), "{:?}", world.keys().await);
        let read = world.read("a").await;
        assert_eq!((read.floor, read.last, read.rows.len()), (9, 8, 0));
        let stats = world.writer.stats(PARTITION).await.unwrap().unwrap();
        assert_eq!((stats.cursor.events, stats.cursor.bytes), (0, 0));
        world.append("a", 9..=9).await;
        assert_eq!(world.offsets("a").await, [(9, 0)]);
    })
    .await;
}

#[tokio::test]
async fn a_long_conversation_is_trimmed_to_the_end() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        for seq in 1..=700 {
            world.append("a", seq..=seq).await;
        }
        assert_eq!(
            world.trim("a", limits(601, None, ALL_SEALED)).await,
            trimmed(600, 0)
        );
        assert_eq!(world.offsets("a").await.len(), 100);
    })
    .await;
}

#[tokio::test]
async fn candidates_are_conversations_with_old_or_too_many_events() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        world.append("old", 1..=1).await;
        world.append("large", 2..=6).await;
        world.append("new", 7..=7).await;
        let candidates = async |older, more| {
            let found = world.writer.candidates(PARTITION, at(older), more).await;
            found.unwrap()
        };
        let named = |name| (tenant(), conversation(name));

        assert_eq!(candidates(2, None).await, [named("old")]);
        assert_eq!(candidates(2, Some(4)).await, [named("large"), named("old")]);
        assert_eq!(candidates(1, Some(5)).await, []);
    })
    .await;
}
