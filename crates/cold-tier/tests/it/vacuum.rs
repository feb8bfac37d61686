//! Vacuums beside writers that put the rows of a dead object again, and beside each other.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use cold_tier::{Change, ColdTier, CommitOutcome, StagedFile, Table};
use event::{SeqRange, Timestamp};
use tokio::task::JoinSet;

use crate::{
    events::{PARTITION, events, pending},
    world::{NOW, World, by_position, read},
};

const GRACE: Duration = Duration::from_secs(3600);
const RANGES: u64 = 30;

fn range(number: u64) -> SeqRange {
    SeqRange {
        lo: number * 10 + 1,
        hi: number * 10 + 10,
    }
}

/// The path of the object on the disk.
fn object(world: &World, staged: &StagedFile) -> PathBuf {
    let table = world.dir.path().join("cold/tier/events");
    table.join(&staged.file().path)
}

/// Makes an object look as if it was put two grace periods ago.
fn age(object: &Path) {
    let file = File::options().write(true).open(object).unwrap();
    let put = Timestamp::now().minus(2 * GRACE).as_micros();
    let put = Duration::from_micros(put.try_into().unwrap());
    file.set_modified(SystemTime::UNIX_EPOCH + put).unwrap();
}

async fn commit(cold: &ColdTier, staged: StagedFile, range: SeqRange) {
    let change = Change {
        adds: vec![staged],
        range: Some((PARTITION, range)),
        ..Change::default()
    };
    let outcome = cold.commit(Table::Events, &change, NOW).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_between_put_and_commit_deletes_nothing_of_a_later_writer() {
    let world = World::disk();
    let cold = world.writer().await;
    let left_behind = cold.stage(pending(range(0))).await.unwrap();
    // A vacuum has decided to delete that one, and does it after the next line.
    let staged = cold.stage(pending(range(0))).await.unwrap();
    fs::remove_file(object(&world, &left_behind)).unwrap();
    commit(&cold, staged, range(0)).await;
    let found = read(&cold, by_position()).await.unwrap();
    assert_eq!(found, events(range(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_that_another_was_faster_than_deletes_nothing_of_a_later_writer() {
    let world = World::disk();
    let cold = world.writer().await;
    let left_behind = cold.stage(pending(range(0))).await.unwrap();
    // Two vacuums have decided to delete that one. One does it now, the other after the commit.
    fs::remove_file(object(&world, &left_behind)).unwrap();
    let staged = cold.stage(pending(range(0))).await.unwrap();
    commit(&cold, staged, range(0)).await;
    let _ = fs::remove_file(object(&world, &left_behind));
    let found = read(&cold, by_position()).await.unwrap();
    assert_eq!(found, events(range(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuums_that_overlap_delete_what_is_dead_and_nothing_that_is_put_again_meanwhile() {
    let world = World::disk();
    let cold = world.writer().await;
    for number in 0..RANGES {
        let left_behind = cold.stage(pending(range(number))).await.unwrap();
        age(&object(&world, &left_behind));
    }
    let mut vacuums = JoinSet::new();
    for _ in 0..3 {
        let cold = world.writer().await;
        vacuums.spawn(async move {
            let vacuumed = cold.vacuum(Table::Events, GRACE, Timestamp::now()).await;
            vacuumed.unwrap().objects
        });
    }
    for number in 0..RANGES {
        let staged = cold.stage(pending(range(number))).await.unwrap();
        commit(&cold, staged, range(number)).await;
    }
    let deleted: u64 = vacuums.join_all().await.into_iter().sum();
    assert!(deleted >= RANGES, "{deleted}");
    let again = cold.vacuum(Table::Events, GRACE, Timestamp::now()).await;
    assert_eq!(again.unwrap().objects, 0);
    let found = read(&cold, by_position()).await.unwrap();
    let all = SeqRange {
        lo: 1,
        hi: RANGES * 10,
    };
    assert_eq!(found, events(all));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_a_live_file_are_put_in_its_place() {
    let world = World::disk();
    let cold = world.writer().await;
    let staged = cold.stage(pending(range(0))).await.unwrap();
    let place = object(&world, &staged);
    commit(&cold, staged, range(0)).await;
    fs::write(&place, "cut").unwrap();
    let again = cold.stage(pending(range(0))).await.unwrap();
    assert_eq!(object(&world, &again), place);
    let found = read(&cold, by_position()).await.unwrap();
    assert_eq!(found, events(range(0)));
}
