use event::{Seq, SeqRange};
use hot_tier::{Limits, ScanPlan, ScanStep};

use crate::world::{PARTITION, World, at, conversation, on_each_server, tenant};

async fn write_three_packs(world: &World) {
    world.writer.start(PARTITION, 1).await.unwrap();
    world.append("a", 1..=3).await;
    world.append("b", 4..=5).await;
    world.append("a", 6..=8).await;
}

fn plan(lo: Seq, hi: Seq) -> ScanPlan {
    ScanPlan {
        range: SeqRange { lo, hi },
        checked: 0,
    }
}

/// The sequences of all rows in ascending order; `None` when the tier does not have what is planned.
pub(crate) async fn scan(world: &World, plan: ScanPlan) -> Option<Vec<Seq>> {
    let mut scan = world.reader.scan(PARTITION, plan);
    let mut seqs = Vec::new();
    loop {
        match scan.next().await.unwrap() {
            ScanStep::Rows(rows) => seqs.extend(rows.iter().map(|row| row.position.seq)),
            ScanStep::Stale => return None,
            ScanStep::End => break,
        }
    }
    seqs.sort_unstable();
    Some(seqs)
}

#[tokio::test]
async fn a_scan_returns_every_row_of_its_range() {
    on_each_server(async |world: World| {
        write_three_packs(&world).await;
        let all = scan(&world, plan(1, 8)).await;
        assert_eq!(all.unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(scan(&world, plan(5, 7)).await.unwrap(), [5, 6, 7]);
        assert_eq!(scan(&world, plan(1, 9)).await, None);
        let both = [(tenant(), conversation("a")), (tenant(), conversation("b"))];
        assert_eq!(world.reader.conversations(PARTITION).await.unwrap(), both);
    })
    .await;
}

#[tokio::test]
async fn a_scan_reads_long_conversations_in_parts() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        for seq in 1..=40 {
            world.append_large("a", seq).await;
        }
        let expected: Vec<Seq> = (1..=40).collect();
        assert_eq!(scan(&world, plan(1, 40)).await.unwrap(), expected);
        let mut first = world.reader.scan(PARTITION, plan(1, 40));
        let ScanStep::Rows(rows) = first.next().await.unwrap() else {
            panic!("there are rows");
        };
        assert!(rows.len() <= 2, "{} rows at once", rows.len());
    })
    .await;
}

#[tokio::test]
async fn a_scan_is_stale_when_a_conversation_has_a_higher_floor() {
    on_each_server(async |world: World| {
        write_three_packs(&world).await;
        world.append("c", 9..=9).await;
        let limits = Limits {
            older_than: at(0),
            max_events: Some(0),
            sealed: 5,
        };
        world.trim("b", limits).await;
        assert_eq!(scan(&world, plan(1, 9)).await, None);
        assert_eq!(scan(&world, plan(6, 9)).await.unwrap(), [6, 7, 8, 9]);
    })
    .await;
}

#[tokio::test]
async fn a_scan_is_stale_when_the_tier_was_lost_and_filled_again_in_between() {
    on_each_server(async |world: World| {
        for (refilled, expected) in [(0, None), (5, None), (8, Some(8))] {
            world.server.flush().await;
            write_three_packs(&world).await;
            let mut scan = world.reader.scan(PARTITION, plan(1, 8));
            // As far as the list of the conversations.
            assert!(scan.start().await.unwrap());
            world.server.flush().await;
            world.writer.start(PARTITION, 1).await.unwrap();
            for (name, seqs) in [("a", 1..=3), ("b", 4..=5), ("a", 6..=8)] {
                if *seqs.end() <= refilled {
                    world.append(name, seqs).await;
                }
            }
            let mut found = Some(0);
            loop {
                match scan.next().await.unwrap() {
                    ScanStep::Rows(rows) => found = found.map(|found| found + rows.len()),
                    ScanStep::Stale => found = None,
                    ScanStep::End => break,
                }
                if found.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "filled up to {refilled}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_scan_says_what_it_holds_between_two_steps() {
    on_each_server(async |world: World| {
        world.writer.start(PARTITION, 1).await.unwrap();
        for seq in 1..=40 {
            world
                .append_large(&format!("conversation-{seq}"), seq)
                .await;
        }
        let mut scan = world.reader.scan(PARTITION, plan(1, 40));
        assert_eq!(scan.held_bytes(), 0);
        assert!(scan.start().await.unwrap());
        let list = scan.held_bytes();
        assert!(list > 40 * "conversation-1".len(), "{list}");
        let announced = scan.list_bytes().await.unwrap();
        assert!(list <= announced, "{list} of {announced}");
        let (mut rows, mut most) = (0, 0);
        while let ScanStep::Rows(more) = scan.next().await.unwrap() {
            rows += more.len();
            most = most.max(scan.held_bytes());
        }
        // What a large event takes in the tier, for all but the first.
        assert!(most > 39 * 100, "{most}");
        assert_eq!((rows, scan.held_bytes()), (40, 0));
    })
    .await;
}
