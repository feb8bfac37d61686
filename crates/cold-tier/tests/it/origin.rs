//! What the log entry of a file says of the rows that it was made of.

use cold_tier::{Change, ColdFile, ColdScan, Origin, PendingFile, Table};
use event::SeqRange;

use crate::{
    events::{PARTITION, events, pending, pending_hourly_stats},
    world::{NOW, World, read},
};

const RANGE: SeqRange = SeqRange { lo: 1, hi: 5 };

#[tokio::test(flavor = "multi_thread")]
async fn a_file_says_how_many_rows_it_was_made_of_also_when_it_has_fewer() {
    let cold = World::disk().writer().await;
    let whole = cold.stage(pending(RANGE)).await.unwrap();
    let rows = events(RANGE);
    let origin = Origin {
        rows: rows.len() as u64,
        sum_crc: rows.iter().map(|row| u64::from(row.crc32c)).sum(),
    };
    assert_eq!(whole.file().origin(), Some(origin));
    assert_eq!(whole.file().rows_removed(), Some(0));
    let rollup = cold.stage(pending_hourly_stats(RANGE)).await.unwrap();
    assert_eq!(rollup.file().origin(), None);

    let thinned = PendingFile {
        rows: segment::encode(&rows[..2]),
        sampled: Some("sha256:x".to_owned()),
        ..pending(RANGE)
    };
    let thinned = cold.stage(thinned).await.unwrap();
    assert_eq!(
        thinned.clone().with_origin(None).file().rows_removed(),
        None
    );
    let change = Change {
        adds: vec![thinned.with_origin(Some(origin))],
        range: Some((PARTITION, RANGE)),
        ..Change::default()
    };
    cold.commit(Table::Events, &change, NOW).await.unwrap();
    let snapshot = cold.table_snapshot(Table::Events).await.unwrap();
    assert_eq!(
        Origin::total(snapshot.files().map(ColdFile::origin)),
        Some(origin)
    );
    let removed = snapshot.files().map(ColdFile::rows_removed);
    assert_eq!(removed.collect::<Vec<_>>(), [Some(origin.rows - 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_without_rows_are_beside_each_other_and_are_not_read() {
    let world = World::disk();
    let cold = world.writer().await;
    for seq in [1, 2] {
        let range = SeqRange { lo: seq, hi: seq };
        let empty = PendingFile {
            rows: segment::encode(&[]),
            ..pending(range)
        };
        let change = Change {
            adds: vec![cold.stage(empty).await.unwrap()],
            range: Some((PARTITION, range)),
            ..Change::default()
        };
        cold.commit(Table::Events, &change, NOW).await.unwrap();
    }
    let snapshot = cold.table_snapshot(Table::Events).await.unwrap();
    let files: Vec<_> = snapshot.files().collect();
    assert_eq!(files.len(), 2);
    for file in files {
        let object = std::path::Path::new(&world.address)
            .join("events")
            .join(&file.path);
        std::fs::remove_file(object).unwrap();
    }
    assert_eq!(read(&cold, ColdScan::default()).await.unwrap(), []);
}
