//! The test suite that every store must pass. Each case runs against each store.

use std::time::Duration;

use arrow::{array::AsArray as _, datatypes::Int64Type};
use cold_tier::{Change, ColdScan, ColdTier, CommitOutcome, DayOf, Error, Order, Table};
use event::{ConversationId, SeqRange, Timestamp};

use crate::{
    events::{PARTITION, class, event, events, pending},
    world::{NOW, World, archive, by_position, decoded, read},
};

fn range(lo: u64, hi: u64) -> SeqRange {
    SeqRange { lo, hi }
}

async fn all_cases(world: World) {
    three_overlapping_committers_commit_each_range_once(&world.writer().await).await;
    a_new_reader_starts_from_a_checkpoint_and_reads_the_same(&world.reader()).await;
    rows_are_found_by_every_filter(&world.reader()).await;
    a_staged_file_is_invisible_until_it_is_committed(&world.writer().await).await;
    a_range_is_committed_in_order_and_once(&world.writer().await).await;
    a_change_that_loses_rows_is_refused(&world.writer().await).await;
    a_rewrite_replaces_files_in_one_step(&world.writer().await).await;
    only_objects_dead_for_the_grace_period_are_vacuumed(&world.writer().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_passes_on_the_local_disk() {
    all_cases(World::disk()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_passes_on_seaweedfs() {
    all_cases(World::seaweedfs().await).await;
}

#[cfg(feature = "external-s3")]
#[tokio::test(flavor = "multi_thread")]
async fn the_suite_passes_on_the_s3_of_the_environment() {
    all_cases(World::from_environment()).await;
}

const RANGES: u64 = 24;
const LENGTH: u64 = 5;

/// Like archivers: each commits the range after the last committed one, until all are committed.
async fn three_overlapping_committers_commit_each_range_once(cold: &ColdTier) {
    let committer = async || {
        let mut commits = 0;
        loop {
            let snapshot = cold.snapshot().await.unwrap();
            let lo = snapshot.events.committed(PARTITION) + 1;
            if lo > RANGES * LENGTH {
                return commits;
            }
            match archive(cold, range(lo, lo + LENGTH - 1)).await.unwrap() {
                CommitOutcome::Committed(_) => commits += 1,
                CommitOutcome::AlreadyCommitted | CommitOutcome::Conflict => {}
            }
        }
    };
    let (a, b, c) = tokio::join!(committer(), committer(), committer());

    assert_eq!(a + b + c, RANGES);
    let found = read(cold, by_position()).await.unwrap();
    assert_eq!(found, events(range(1, RANGES * LENGTH)));
    let stats = cold.table_snapshot(Table::HourlyStats).await.unwrap();
    let stats = cold.read(&stats, &ColdScan::default()).await.unwrap();
    let counts = stats
        .iter()
        .map(|b| b["events"].as_primitive::<Int64Type>().values().iter());
    let counted: i64 = counts.map(Iterator::sum::<i64>).sum();
    assert_eq!(u64::try_from(counted).unwrap(), RANGES * LENGTH * 2);
}

async fn a_new_reader_starts_from_a_checkpoint_and_reads_the_same(reader: &ColdTier) {
    let snapshot = reader.snapshot().await.unwrap();
    assert!(
        snapshot.events.version().unwrap() >= 20,
        "a checkpoint is due"
    );
    assert_eq!(snapshot.committed(), [(PARTITION, RANGES * LENGTH)].into());
    let file = snapshot.events.files().next().unwrap();
    assert_eq!(file.tenant.as_deref(), Some("acme"));
    assert_eq!(file.dt, Some(DayOf::ReceivedAt.day(&event(1, 0))));
    let provenance = file.provenance.clone().unwrap();
    assert_eq!(provenance.class, Some(class()));
    assert_eq!(provenance.ranges.len(), 1);
    assert_eq!(file.rows, LENGTH * 2);
    let found = reader.read(&snapshot.events, &by_position()).await.unwrap();
    assert_eq!(decoded(&found), events(range(1, RANGES * LENGTH)));
}

async fn rows_are_found_by_every_filter(cold: &ColdTier) {
    let all = events(range(1, RANGES * LENGTH));
    let check = async |change: &dyn Fn(&mut ColdScan),
                       keep: &dyn Fn(&event::StoredEvent) -> bool| {
        let mut scan = by_position();
        change(&mut scan);
        let expected: Vec<_> = all.iter().filter(|e| keep(e)).cloned().collect();
        assert_eq!(read(cold, scan).await.unwrap(), expected);
    };
    let run = ConversationId::new("run/3").unwrap();
    let at = event(50, 0).event.timestamp;
    let received = event(100, 0).received_at;
    check(&|s| s.conversation = Some(run.clone()), &|e| {
        e.event.conversation_id == run
    })
    .await;
    check(&|s| s.timestamp_from = Some(at), &|e| {
        e.event.timestamp >= at
    })
    .await;
    check(&|s| s.timestamp_to = Some(at), &|e| e.event.timestamp < at).await;
    check(&|s| s.received_after = Some(received), &|e| {
        e.received_at > received
    })
    .await;
    check(&|s| s.after = Some((60, 0)), &|e| {
        e.position.offset() > (60, 0)
    })
    .await;
    check(&|s| s.before = Some((60, 1)), &|e| {
        e.position.offset() < (60, 1)
    })
    .await;
    check(&|s| s.ranges = Some(range(7, 33).into()), &|e| {
        range(7, 33).contains(e.position.seq)
    })
    .await;
    check(
        &|s| drop(s.except.insert((PARTITION, class()), range(1, 51).into())),
        &|e| e.position.seq > 51,
    )
    .await;
    check(&|s| s.types = vec!["error".into()], &|_| false).await;
    let mut newest = by_position();
    (newest.order, newest.limit) = (Some(Order::Desc), Some(5));
    let expected: Vec<_> = all.iter().rev().take(5).cloned().collect();
    assert_eq!(read(cold, newest).await.unwrap(), expected);
}

async fn a_staged_file_is_invisible_until_it_is_committed(cold: &ColdTier) {
    let before = cold.snapshot().await.unwrap();
    cold.stage(pending(range(1000, 1010))).await.unwrap();
    let after = cold.snapshot().await.unwrap();
    assert_eq!(before.events.version(), after.events.version());
    assert_eq!(before.events.rows(), after.events.rows());
}

async fn a_range_is_committed_in_order_and_once(cold: &ColdTier) {
    let last = RANGES * LENGTH;
    assert_eq!(
        archive(cold, range(1, 5)).await.unwrap(),
        CommitOutcome::AlreadyCommitted
    );
    let gap = range(last + 2, last + 3);
    assert_eq!(archive(cold, gap).await.unwrap(), CommitOutcome::Conflict);
    let half_known = range(last, last + 1);
    assert_eq!(
        archive(cold, half_known).await.unwrap(),
        CommitOutcome::Conflict
    );
}

async fn a_rewrite_replaces_files_in_one_step(cold: &ColdTier) {
    let snapshot = cold.snapshot().await.unwrap();
    let removes: Vec<_> = snapshot.events.files().cloned().collect();
    let mut whole = pending(range(1, RANGES * LENGTH));
    whole.sampled = Some("sha256:x".to_owned());
    let change = Change {
        adds: vec![cold.stage(whole).await.unwrap()],
        removes,
        only_rearranged: true,
        ..Change::default()
    };
    let outcome = cold.commit(Table::Events, &change, NOW).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)));
    let again = cold.commit(Table::Events, &change, NOW).await.unwrap();
    assert_eq!(again, CommitOutcome::Conflict);

    let snapshot = cold.snapshot().await.unwrap();
    let files: Vec<_> = snapshot.events.files().collect();
    let [file] = files[..] else {
        panic!("{} files, not 1", files.len());
    };
    let provenance = file.provenance.clone().unwrap();
    assert_eq!(provenance.sampled.as_deref(), Some("sha256:x"));
    let found = read(cold, by_position()).await.unwrap();
    assert_eq!(found, events(range(1, RANGES * LENGTH)));
}

async fn a_change_that_loses_rows_is_refused(cold: &ColdTier) {
    let snapshot = cold.snapshot().await.unwrap();
    let removes: Vec<_> = snapshot.events.files().cloned().collect();
    let rows = snapshot.events.rows();
    let change = Change {
        removes,
        rows_dropped: rows - 1,
        ..Change::default()
    };
    let error = cold.commit(Table::Events, &change, NOW).await.unwrap_err();
    assert!(
        matches!(error, cold_tier::Error::Unbalanced { .. }),
        "{error}"
    );
    assert_eq!(cold.snapshot().await.unwrap().events.rows(), rows);
}

async fn only_objects_dead_for_the_grace_period_are_vacuumed(cold: &ColdTier) {
    let hour = Duration::from_secs(3600);
    let now = Timestamp::now();
    let kept = cold.vacuum(Table::Events, hour, now).await.unwrap();
    assert_eq!(kept.objects, 0);

    let later = now.max(NOW).plus(hour * 2);
    let dead = cold.vacuum(Table::Events, hour, later).await.unwrap();
    // The rewritten ones, the staged one, and those of committers that were not the first.
    assert!(dead.objects > RANGES, "{dead:?}");
    let again = cold.vacuum(Table::Events, hour, later).await.unwrap();
    assert_eq!(again.objects, 0);
    let found = read(cold, by_position()).await.unwrap();
    assert_eq!(found, events(range(1, RANGES * LENGTH)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_is_detected_and_never_returned() {
    let world = World::disk();
    let cold = world.writer().await;
    archive(&cold, range(1, 100)).await.unwrap();
    let snapshot = cold.snapshot().await.unwrap();
    let path = &snapshot.events.files().next().unwrap().path;
    let path = world.dir.path().join("cold/tier/events").join(path);
    let sound = std::fs::read(&path).unwrap();
    for at in [10, sound.len() / 2, sound.len() - 10] {
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let error = read(&cold, by_position()).await.unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        assert!(!error.is_transient());
    }
    std::fs::write(&path, sound).unwrap();
    assert_eq!(read(&cold, by_position()).await.unwrap().len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_before_the_first_writer_finds_nothing() {
    let world = World::disk();
    let snapshot = world.reader().snapshot().await.unwrap();
    assert_eq!(snapshot.events.version(), None);
    assert!(snapshot.committed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_creators_make_one_table() {
    let world = World::disk();
    let (a, b, c) = tokio::join!(world.writer(), world.writer(), world.writer());
    for cold in [a, b, c] {
        let snapshot = cold.snapshot().await.unwrap();
        assert_eq!(snapshot.events.version(), Some(0));
    }
}

#[tokio::test]
async fn an_invalid_address_is_refused() {
    let error = ColdTier::open("http://x/y", &cold_tier::ColdOptions::default()).unwrap_err();
    assert!(error.to_string().contains("s3://bucket/prefix"), "{error}");
}
