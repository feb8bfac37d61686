//! Which rows of a slice cold may have not, when rules sample and other engines write.

use std::{fs, path::PathBuf};

use cold_tier::{ColdFile, ColdTier, Table};
use retention::{Action, Cold, HashKey, Policy, RuleSet, Sampling, Selector};
use serde_json::json;
use testkit::eventually;

use crate::{
    tiering::{archive_those, short},
    world::{World, assert_once},
};

/// Everything leaves warm after a second; errors are sampled in cold, and what is young expires there.
fn sampling_others() -> RuleSet {
    let of = |event_type: &str, cold: Cold| Policy {
        name: format!("test/{event_type}"),
        selector: Selector {
            event_types: vec![event_type.to_owned()],
            ..Selector::default()
        },
        warm: None,
        cold: Some(cold),
        hot: None,
        ..Policy::built_in()
    };
    let keep = Cold {
        max_age_ms: None,
        disabled: false,
        sampling: None,
    };
    let sampling = Sampling {
        salt: String::new(),
        hash_key: HashKey::Event,
        rules: Vec::new(),
        default_action: Action::Drop,
    };
    let sampled = Cold {
        sampling: Some(sampling),
        ..keep.clone()
    };
    let old = Cold {
        max_age_ms: Some(3_600_000),
        ..keep
    };
    let mut rules = short();
    let others = [of("nobody.*", sampled), of("young.*", old)];
    rules.policies.splice(0..0, others);
    rules
}

async fn until_kept(world: &World) {
    eventually("slices are due and stay", async || {
        world.metric("isotherm_compactor_unproven_slices").await >= 2.0
    })
    .await;
    assert_once(&world.stored().await, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_stays_without_its_rows_although_rules_sample_and_expire_others() {
    let world = World::start().await;
    world.log.publish_policy(&sampling_others()).await.unwrap();
    let (url, cold) = world.cold().await;
    let _compactor = world.compactor(&["--seal-after", "200ms", "--cold-url", &url]);
    world.publish(0..300, 10).await;
    let coverage = world.until_sealed().await;

    archive_those(&world, &cold, &coverage, |row| row.position.seq > 2).await;

    until_kept(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_another_engine_has_written_again_are_found_and_those_that_it_has_not_are_missed()
{
    for is_complete in [true, false] {
        let world = World::start().await;
        let (url, cold) = world.cold().await;
        let _compactor = world.compactor(&["--seal-after", "200ms", "--cold-url", &url]);
        world.publish(0..300, 10).await;
        let coverage = world.until_sealed().await;
        archive_those(&world, &cold, &coverage, |row| {
            is_complete || row.position.seq > 2
        })
        .await;
        rewrite_as_another_engine(&cold, &world.dir.path().join("cold/events")).await;
        world.log.publish_policy(&short()).await.unwrap();

        if is_complete {
            eventually("nothing is left in warm", async || {
                world.stored().await.is_empty()
            })
            .await;
        } else {
            until_kept(&world).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_that_cannot_be_read_ends_nothing_and_the_others_leave() {
    let world = World::start().await;
    let (url, cold) = world.cold().await;
    let args = ["--seal-after", "200ms", "--cold-url", &url];
    let mut compactor = world.compactor(&args);
    world.publish(0..300, 10).await;
    let coverage = world.until_sealed().await;
    archive_those(&world, &cold, &coverage, |_| true).await;
    let own = &coverage.partitions[0];
    let dir = world
        .data()
        .join(format!("g1/p{:02}/e1", own.partition.partition));
    let slices = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let is_slice = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("L0-")
    };
    let slice = slices.into_iter().find(is_slice).unwrap();
    let len = usize::try_from(fs::metadata(&slice).unwrap().len()).unwrap();
    let mut bytes = fs::read(&slice).unwrap();
    bytes[12_288..len].fill(0xA5);
    fs::write(&slice, bytes).unwrap();

    world.log.publish_policy(&short()).await.unwrap();

    eventually("none is left in warm", async || {
        let coverage = world.client().coverage().await.unwrap();
        coverage.partitions.iter().all(|own| own.slices.is_empty())
    })
    .await;
    assert_eq!(compactor.ended(), None, "{}", compactor.stderr());
    assert!(!slice.exists(), "it is in quarantine");
    let coverage = world.client().coverage().await.unwrap();
    assert_eq!(coverage.partition(own.partition).unwrap().gaps.len(), 1);
}

/// Replaces each live file by one with the same rows and without tags, as `OPTIMIZE` of another engine does.
async fn rewrite_as_another_engine(cold: &ColdTier, table: &std::path::Path) {
    let snapshot = cold.table_snapshot(Table::Events).await.unwrap();
    let mut actions = Vec::new();
    for file in snapshot.files() {
        let path = file.path.replace(".parquet", "-of-another.parquet");
        fs::copy(table.join(&file.path), table.join(&path)).unwrap();
        let partition_values = partition_values(file);
        actions.push(
            json!({"remove": {"path": file.path, "deletionTimestamp": 1, "dataChange": false}}),
        );
        actions.push(json!({"add": {
            "path": path, "partitionValues": partition_values, "size": file.bytes,
            "modificationTime": 1, "dataChange": false,
            "stats": format!("{{\"numRecords\":{}}}", file.rows),
        }}));
    }
    let lines: Vec<_> = actions.iter().map(ToString::to_string).collect();
    let next = snapshot.version().unwrap() + 1;
    let entry = table.join(format!("_delta_log/{next:020}.json"));
    fs::write(entry, lines.join("\n")).unwrap();
}

fn partition_values(file: &ColdFile) -> serde_json::Value {
    let date = file.dt.as_ref().map(|day| day.date.clone());
    json!({"tenant": file.tenant, "dt": date})
}
