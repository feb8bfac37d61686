//! Reads of more rows than should be in memory at once.

use cold_tier::{Change, ColdItem, ColdScan, ColdTier, Order, PendingFile, Table};
use event::{SeqRange, StoredEvent};
use futures::TryStreamExt as _;

use crate::{
    events::{PARTITION, event, pending},
    world::{NOW, World},
};

const CONTENT_BYTES: usize = 250_000;
const LAST: u64 = 60;

/// Three files with one large event of one conversation per sequence.
async fn large_files(cold: &ColdTier) {
    for lo in (1..LAST).step_by(20) {
        let range = SeqRange { lo, hi: lo + 19 };
        let rows: Vec<StoredEvent> = (range.lo..=range.hi).map(large).collect();
        let file = PendingFile {
            rows: segment::encode(&rows),
            ..pending(range)
        };
        let change = Change {
            adds: vec![cold.stage(file).await.unwrap()],
            range: Some((PARTITION, range)),
            ..Change::default()
        };
        cold.commit(Table::Events, &change, NOW).await.unwrap();
    }
}

fn large(seq: u64) -> StoredEvent {
    let mut large = event(seq, 0);
    large.event.conversation_id = event(1, 0).event.conversation_id;
    large.event.content = "x".repeat(CONTENT_BYTES);
    large.crc32c = event_proto::EncodedEvent::encode(&large.event).crc32c;
    large
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_few_rows_of_large_events_at_once() {
    let world = World::disk();
    let cold = world.writer().await;
    large_files(&cold).await;
    let snapshot = cold.snapshot().await.unwrap();
    let mut items = cold.stream_readable(&snapshot.events, ColdScan::default());
    let mut rows = 0;
    while let Some(item) = items.try_next().await.unwrap() {
        let ColdItem::Batch(batch) = item else {
            panic!("every file can be read: {item:?}");
        };
        rows += batch.num_rows();
        assert!(batch.num_rows() * CONTENT_BYTES <= 5 << 20, "{batch:?}");
    }
    assert_eq!(u64::try_from(rows).unwrap(), LAST);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_read_ends_by_its_bytes_and_the_next_goes_on_behind_it() {
    let world = World::disk();
    let cold = world.writer().await;
    large_files(&cold).await;
    let snapshot = cold.snapshot().await.unwrap();
    for order in [Order::Asc, Order::Desc] {
        let mut scan = ColdScan {
            conversation: Some(large(1).event.conversation_id),
            order: Some(order),
            limit: Some(1000),
            max_bytes: Some(9 * CONTENT_BYTES),
            ..ColdScan::default()
        };
        let mut found = Vec::new();
        loop {
            let read = cold.read_readable(&snapshot.events, &scan).await.unwrap();
            let rows = segment::decode(&read.rows.unwrap()).unwrap();
            assert!(rows.len() <= 9, "{} rows", rows.len());
            found.extend(rows.iter().map(|row| row.position.seq));
            let last = rows.last().map(|row| row.position.offset());
            if !read.is_cut {
                break;
            }
            match order {
                Order::Asc => scan.after = last,
                Order::Desc => scan.before = last,
            }
        }
        if order == Order::Desc {
            found.reverse();
        }
        assert_eq!(found, (1..=LAST).collect::<Vec<_>>(), "{order:?}");
    }
}
