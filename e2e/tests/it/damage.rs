//! Objects of the cold tier that are missing: nothing else is lost, and what can be put again is.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use testkit::{eventually, metric};
use tokio::net::TcpListener;

use crate::{
    agents,
    world::{Setup, World, keep_all, sampled},
};

const HOUR: u64 = 3_600_000;

/// The objects of the events in cold, sorted.
fn event_objects(world: &World) -> Vec<PathBuf> {
    fn visit(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("_delta_log") {
                visit(&path, found);
            } else if path.extension().is_some_and(|kind| kind == "parquet") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    visit(Path::new(&world.path("cold/events")), &mut found);
    found.sort();
    found
}

/// The positions of all events, and the whole answer.
pub(crate) async fn positions(world: &World) -> (BTreeSet<String>, Value) {
    let answer = world.sql("SELECT position FROM events").await;
    let rows = answer["rows"].as_array().unwrap().iter();
    let text = |row: &Value| {
        row["position"]
            .as_str()
            .or(row[0].as_str())
            .map(str::to_owned)
    };
    (rows.map(|row| text(row).unwrap()).collect(), answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn warm_keeps_the_rows_of_a_missing_object_until_it_is_put_again() {
    let world = World::start().await;
    let posted = agents::run(11, 900, 5);
    world.set_policy(HOUR, HOUR, keep_all()).await;
    world.post(&posted, 200).await;
    world.until_sealed().await;
    world.archive().await;
    let object = event_objects(&world).remove(0);
    fs::rename(&object, world.path("moved")).unwrap();

    world.set_policy(1000, 1000, keep_all()).await;
    world.valkey.flush().await;
    eventually("the compactor has missed the object", async || {
        let metrics = world.admin("compactor", "/metrics").await;
        metrics.contains("isotherm_cold_damaged_files 1")
    })
    .await;
    let (all, answer) = positions(&world).await;
    assert_eq!(
        (all.len(), &answer["complete"]),
        (posted.len(), &Value::Bool(true))
    );

    world.archive().await;
    assert!(object.exists(), "{} was put again", object.display());
    assert_eq!(
        fs::read(&object).unwrap(),
        fs::read(world.path("moved")).unwrap()
    );
    world.until_only_cold(&posted).await;
    let (after, answer) = positions(&world).await;
    assert_eq!((after, &answer["complete"]), (all, &Value::Bool(true)));
    world.assert_returns_exactly(&posted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn warm_keeps_rows_whose_file_another_engine_has_removed_although_rules_sample() {
    let world = World::start().await;
    let posted = agents::run_over_days(15, 900, 4);
    world.set_policy(HOUR, HOUR, sampled()).await;
    world.post(&posted, 200).await;
    world.until_sealed().await;
    world.archive().await;
    let (all, _) = positions(&world).await;
    let removed = remove_one_file(&world);
    let of_removed = all.iter().filter(|position| is_named(&removed, position));
    let of_removed: BTreeSet<_> = of_removed.cloned().collect();
    assert!(!of_removed.is_empty() && of_removed.len() < all.len());

    world.set_policy(1000, 1000, sampled()).await;
    world.valkey.flush().await;
    eventually("the slices of the file stay, others leave", async || {
        let metrics = world.admin("compactor", "/metrics").await;
        let expired = "isotherm_tier_removed_events_total{reason=\"expired\",tier=\"warm\"}";
        let expected = ["isotherm_compactor_unproven_slices", expired];
        expected.iter().all(|name| metric(&metrics, name) > 0.0)
    })
    .await;

    // What has left warm is sampled, what it keeps is whole.
    world.archive().await;
    eventually("the sampled files are read", async || {
        positions(&world).await.0.len() < all.len()
    })
    .await;
    let (after, answer) = positions(&world).await;
    assert!(of_removed.is_subset(&after), "{answer}");
    assert_eq!(answer["complete"], true);
}

/// Removes a file of the events from the log of the table, as `DELETE` of another engine does; returns the
/// ranges that it had, as answers name ranges.
fn remove_one_file(world: &World) -> Value {
    let log = PathBuf::from(world.path("cold/events/_delta_log"));
    let entry = |version: usize| log.join(format!("{version:020}.json"));
    let next = (0..).find(|version| !entry(*version).exists()).unwrap();
    let last = fs::read_to_string(entry(next - 1)).unwrap();
    let mut actions = last
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let add = actions
        .find_map(|action| action.get("add").cloned())
        .unwrap();
    let remove =
        json!({"remove": {"path": add["path"], "deletionTimestamp": 1, "dataChange": true}});
    fs::write(entry(next), remove.to_string()).unwrap();
    let range = add["tags"]["isotherm.range"].as_str().unwrap();
    let (partition, ranges) = range.split_once(':').unwrap();
    let (from, to) = ranges.split_once('-').unwrap();
    let bound = |text: &str| text.parse::<u64>().unwrap();
    json!([{"partition": partition, "from": bound(from), "to": bound(to)}])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_costs_only_its_own_rows_which_are_named() {
    let mut world = World::start().await;
    world.set_policy(HOUR, HOUR, keep_all()).await;
    let posted: Vec<String> = [agents::run(12, 600, 5), agents::run(13, 600, 5)].concat();
    for part in posted.chunks(600) {
        world.post(part, 200).await;
        world.until_sealed().await;
        world.archive().await;
    }
    world.set_policy(1000, 1000, keep_all()).await;
    world.until_only_cold(&posted).await;
    let (all, answer) = positions(&world).await;
    assert_eq!(
        (all.len(), &answer["complete"]),
        (posted.len(), &Value::Bool(true))
    );

    let object = event_objects(&world).remove(0);
    fs::rename(&object, world.path("moved")).unwrap();
    // It would answer from its cache.
    world.kill("query").await;
    fs::remove_dir_all(world.path("cache")).unwrap();
    world.start_service("query");
    world.until_ready("query").await;

    let (left, answer) = positions(&world).await;
    assert_eq!(answer["complete"], false, "{answer}");
    assert!(!left.is_empty() && left.len() < all.len(), "{}", left.len());
    for lost in all.difference(&left) {
        assert!(
            is_named(&answer["missing"], lost),
            "{lost}: {}",
            answer["missing"]
        );
    }
    let mut lines = 0;
    let conversations: BTreeSet<_> = posted
        .iter()
        .map(|line| agents::conversation(line))
        .collect();
    let mut incomplete = 0;
    for name in &conversations {
        let answer = world.read(name).await;
        lines += answer.lines.len();
        incomplete += usize::from(!answer.complete);
    }
    assert_eq!(lines, left.len());
    assert!(
        (1..conversations.len()).contains(&incomplete),
        "{incomplete}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_store_that_never_answers_costs_only_what_it_has() {
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", hung.local_addr().unwrap());
    let query_cold = [
        "--cold-url",
        "s3://bucket/prefix",
        "--s3-allow-http",
        "--s3-endpoint",
        &endpoint,
    ];
    let keys = [
        "--s3-access-key",
        "a",
        "--s3-secret-key",
        "b",
        "--s3-region",
        "c",
    ];
    let query_cold = [&query_cold[..], &keys].concat();
    let mut world = World::start_with(Setup {
        query_cold: query_cold.into_iter().map(str::to_owned).collect(),
        ..Setup::default()
    })
    .await;
    world.set_policy(HOUR, HOUR, keep_all()).await;
    let posted = agents::run(14, 300, 5);
    world.post(&posted, 20).await;
    // What the log no longer has could only be in cold.
    world.kill("hot-writer").await;
    world.kill("compactor").await;
    world.valkey.flush().await;
    let log = world.log().await;
    for partition in log.partition_count().await.unwrap().unwrap().all() {
        log.purge_through(partition, 2).await.unwrap();
    }

    let conversation = agents::conversation(posted.last().unwrap());
    let answer = world.read(&conversation).await;
    assert!(!answer.complete && !answer.lines.is_empty(), "{answer:?}");
    let (_, answer) = positions(&world).await;
    assert_eq!(answer["complete"], false, "{answer}");
}

/// Whether `missing` has the range of `position`: its first part is the same for a whole partition.
fn is_named(missing: &Value, position: &str) -> bool {
    missing.as_array().unwrap().iter().any(|range| {
        let bound = |name: &str| range[name].as_u64();
        let parts: Vec<u64> = position
            .split('-')
            .map(|part| part.parse().unwrap())
            .collect();
        let partition = range["partition"].as_str().unwrap_or_default();
        partition == format!("g{}p{:02}e{}", parts[0], parts[1], parts[2])
            && bound("from").is_some_and(|from| from <= parts[3])
            && bound("to").is_none_or(|to| parts[3] <= to)
    })
}
