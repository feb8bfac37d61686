//! The day by which files are partitioned: that of `received_at`; of an older version, of the event time.

use std::{collections::BTreeMap, fs, time::Duration};

use arrow::compute::concat_batches;
use cold_tier::{
    Change, ColdOptions, ColdScan, ColdTier, Day, DayOf, PendingFile, StagedFile, Table,
};
use event::{PartitionId, SeqRange, StoredEvent, TenantId, Timestamp};
use retention::{Cold, RuleSet};
use warm_tier::remote::{self, Client, PartitionCoverage, Scan};

use crate::world::{PARTITIONS, World, event, policy, sampling};

const EVENTS: u64 = 280;
const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_thousand_days_that_came_at_once_are_in_one_file_and_found_by_event_time() {
    let world = World::start(None).await;
    let events = (0..1000_u32).map(|number| {
        let mut event = event(number.into());
        event.timestamp = event.timestamp.minus(DAY * number);
        event
    });
    let events: Vec<_> = events.collect();
    world.publish_events(events.clone()).await;
    world.until_sealed().await;

    world.archive().await;

    let (cold, snapshot) = world.snapshot("cold").await;
    let files: Vec<_> = snapshot.events.files().collect();
    // One a partition, and one more each when midnight was just then.
    assert!(files.len() <= 2 * usize::from(PARTITIONS), "{files:?}");
    let (first, last) = (&events[500], &events[490]);
    let scan = ColdScan {
        timestamp_from: Some(first.timestamp),
        timestamp_to: Some(last.timestamp),
        ..ColdScan::default()
    };
    let found = cold.read(&snapshot.events, &scan).await.unwrap();
    assert_eq!(found.iter().map(|b| b.num_rows()).sum::<usize>(), 10);
    assert_eq!(world.in_cold("cold").await.len(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_files_by_event_day_and_by_day_of_receipt_is_repaired_sampled_and_expired() {
    let forever = |sampling| Cold {
        max_age_ms: None,
        disabled: false,
        sampling,
    };
    let world = World::start(Some(policy(3_600_000, forever(None)))).await;
    world.publish(0..EVENTS).await;
    world.until_sealed().await;
    archive_as_an_older_version(&world).await;
    world.publish(EVENTS..2 * EVENTS).await;
    world.until_sealed().await;
    let by_event_day = world.files("cold").await;
    assert!(by_event_day.len() > 2, "{by_event_day:?}");
    let missing = by_event_day.first().unwrap();
    fs::remove_file(world.dir.path().join("cold/events").join(missing)).unwrap();

    let summary = world.archive().await;

    assert!(summary.contains("\"restored\":1,"), "{summary}");
    world.assert_whole(2 * EVENTS).await;
    assert_eq!(kinds(&world).await, [DayOf::EventTime, DayOf::ReceivedAt]);
    for (path, day) in files(&world).await {
        let of_path = by_event_day.contains(&path);
        assert_eq!(of_path, day.of == DayOf::EventTime, "{path}");
    }

    let rules = RuleSet::new(vec![policy(50, forever(Some(sampling())))]);
    world.log.publish_policy(&rules).await.unwrap();
    world.until_left_warm().await;
    let summary = world.archive().await;
    assert!(!summary.contains("\"sampled_out\":0,"), "{summary}");
    assert_eq!(kinds(&world).await, [DayOf::EventTime, DayOf::ReceivedAt]);
    for row in world.in_cold("cold").await {
        assert_eq!(row.event, event(crate::world::number(&row)));
    }

    let short = Cold {
        max_age_ms: Some(100),
        ..forever(None)
    };
    let rules = RuleSet::new(vec![policy(50, short)]);
    world.log.publish_policy(&rules).await.unwrap();
    world.archive().await;
    assert!(world.files("cold").await.is_empty());
}

async fn files(world: &World) -> Vec<(String, Day)> {
    let (_, snapshot) = world.snapshot("cold").await;
    let files = snapshot.events.files();
    files
        .map(|file| (file.path.clone(), file.dt.clone().unwrap()))
        .collect()
}

async fn kinds(world: &World) -> Vec<DayOf> {
    let mut kinds: Vec<_> = files(world).await.iter().map(|(_, day)| day.of).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Archives what is sealed as versions did whose files were partitioned by event day.
async fn archive_as_an_older_version(world: &World) {
    let path = world.dir.path().join("cold").display().to_string();
    let options = ColdOptions::default();
    let cold = ColdTier::open_for_writing(&path, &options).await.unwrap();
    let warm = world.client();
    for partition in warm.coverage().await.unwrap().partitions {
        let range = partition.sealed_range().unwrap();
        let hourly = (Table::HourlyStats, remote::Table::HourlyStats);
        let summary = (
            Table::ConversationSummary,
            remote::Table::ConversationSummary,
        );
        for (table, warm_table) in [hourly, summary] {
            let scan = Scan::new(warm_table, partition.partition, vec![range]);
            let batches = warm.collect(&scan).await.unwrap();
            let mut file = pending(table, (partition.partition, range));
            file.rows = concat_batches(&table.schema(), &batches).unwrap();
            let add = cold.stage(file).await.unwrap();
            commit(&cold, table, vec![add], (partition.partition, range)).await;
        }
        let adds = stage_by_event_day(&cold, &warm, &partition, range).await;
        commit(&cold, Table::Events, adds, (partition.partition, range)).await;
    }
}

async fn stage_by_event_day(
    cold: &ColdTier,
    warm: &Client,
    partition: &PartitionCoverage,
    range: SeqRange,
) -> Vec<StagedFile> {
    let scan = Scan::new(remote::Table::Events, partition.partition, vec![range]);
    let mut days: BTreeMap<Day, Vec<StoredEvent>> = BTreeMap::new();
    for batch in warm.collect(&scan).await.unwrap() {
        for row in segment::decode(&batch).unwrap() {
            let day = DayOf::EventTime.day(&row);
            days.entry(day).or_default().push(row);
        }
    }
    let mut staged = Vec::new();
    for (day, rows) in days {
        let file = PendingFile {
            tenant: Some(TenantId::default_tenant()),
            dt: Some(day),
            class: Some(partition.slices[0].class),
            received_max: rows.iter().map(|row| row.received_at).max().unwrap(),
            rows: segment::encode(&rows),
            ..pending(Table::Events, (partition.partition, range))
        };
        staged.push(cold.stage(file).await.unwrap());
    }
    staged
}

fn pending(table: Table, range: (PartitionId, SeqRange)) -> PendingFile {
    PendingFile {
        table,
        tenant: None,
        dt: None,
        rows: arrow::array::RecordBatch::new_empty(table.schema()),
        class: None,
        ranges: vec![range],
        sampled: None,
        received_max: Timestamp::from_micros(0),
    }
}

async fn commit(
    cold: &ColdTier,
    table: Table,
    adds: Vec<StagedFile>,
    range: (PartitionId, SeqRange),
) {
    let change = Change {
        adds,
        range: Some(range),
        ..Change::default()
    };
    let now = Timestamp::from_micros(1);
    cold.commit(table, &change, now).await.unwrap();
}
