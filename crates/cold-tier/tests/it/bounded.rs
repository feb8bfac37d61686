//! Reads of more rows than should be in memory at once.

use std::time::Duration;

use cold_tier::{Change, ColdItem, ColdScan, ColdTier, Order, PendingFile, Table};
use event::{SeqRange, StoredEvent};
use futures::{StreamExt as _, TryStreamExt as _, future::join_all};

use crate::{
    events::{PARTITION, event, pending},
    world::{NOW, World},
};

const CONTENT_BYTES: usize = 250_000;
const LAST: u64 = 60;
/// From here on the metadata is long, and not the content.
const METADATA_FROM: u64 = LAST + 201;

/// Three files with one large event of one conversation per sequence.
async fn large_files(cold: &ColdTier) {
    for lo in (1..LAST).step_by(20) {
        large_file(cold, SeqRange { lo, hi: lo + 19 }).await;
    }
}

/// A file with one large event per sequence of `range`.
async fn large_file(cold: &ColdTier, range: SeqRange) {
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

fn large(seq: u64) -> StoredEvent {
    let mut large = event(seq, 0);
    large.event.conversation_id = event(1, 0).event.conversation_id;
    let long = "x".repeat(CONTENT_BYTES);
    match seq < METADATA_FROM {
        true => large.event.content = long,
        false => large.event.metadata = format!("{{\"a\":\"{long}\"}}"),
    }
    large.crc32c = event_proto::EncodedEvent::encode(&large.event).crc32c;
    large
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_few_rows_of_large_events_at_once() {
    let world = World::disk();
    let cold = world.writer().await;
    large_files(&cold).await;
    // Many equal ones, which are encoded as one, and then many with equal metadata.
    let last = METADATA_FROM + 199;
    for (lo, hi) in [(LAST + 1, METADATA_FROM - 1), (METADATA_FROM, last)] {
        large_file(&cold, SeqRange { lo, hi }).await;
    }
    let snapshot = cold.snapshot().await.unwrap();
    let mut items = cold.stream_readable(&snapshot.events, ColdScan::default());
    let mut rows = 0;
    while let Some(item) = items.try_next().await.unwrap() {
        let ColdItem::Batch(batch) = item else {
            panic!("every file can be read: {item:?}");
        };
        rows += batch.num_rows();
        let bytes = segment::memory_bytes(&batch);
        assert!(bytes <= 9 << 20, "{bytes} bytes at once");
    }
    assert_eq!(u64::try_from(rows).unwrap(), last);
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

#[tokio::test(flavor = "multi_thread")]
async fn the_objects_of_all_reads_share_one_memory_and_every_read_comes_to_its_end() {
    let mut world = World::disk();
    let writer = world.writer().await;
    large_files(&writer).await;
    // More batches than wait for their reader.
    let long = SeqRange {
        lo: LAST + 1,
        hi: LAST + 200,
    };
    large_file(&writer, long).await;
    // One object of a stream at a time.
    world.options.object_memory = Some(1);
    let cold = world.reader();
    let snapshot = cold.snapshot().await.unwrap();
    let stream = |range: SeqRange| {
        let scan = ColdScan {
            ranges: Some(range.into()),
            ..ColdScan::default()
        };
        cold.stream_readable(&snapshot.events, scan).boxed()
    };
    let all = SeqRange { lo: 1, hi: LAST };
    let mut slow = stream(long);
    assert!(slow.try_next().await.unwrap().is_some());
    let mut other = stream(all);
    let next = tokio::time::timeout(Duration::from_millis(500), other.try_next()).await;
    assert!(next.is_err(), "its object waits for the first one");
    let scan = ColdScan {
        order: Some(Order::Asc),
        limit: Some(3),
        ..ColdScan::default()
    };
    let page = cold.read_readable(&snapshot.events, &scan).await.unwrap();
    assert_eq!(page.rows.unwrap().num_rows(), 3, "a page does not wait");

    drop(slow);
    let rows = join_all((0..5).map(async |_| {
        let items: Vec<ColdItem> = stream(all).try_collect().await.unwrap();
        let batches = items.iter().map(|item| match item {
            ColdItem::Batch(batch) => batch.num_rows(),
            ColdItem::Unread { .. } => 0,
        });
        batches.sum::<usize>()
    }));
    let (rows, rest) = tokio::join!(rows, other.try_collect::<Vec<_>>());
    assert_eq!(rows, [60; 5]);
    assert!(!rest.unwrap().is_empty());
}
