//! Objects that are missing or damaged: what is proven goes on, and nothing else is removed.

use std::{fs, path::PathBuf, time::Duration};

use retention::{Cold, RuleSet};
use serde_json::Value;

use crate::world::{World, policy, sampling};

const EVENTS: u64 = 280;

fn sampled() -> Cold {
    Cold {
        max_age_ms: None,
        disabled: false,
        sampling: Some(sampling()),
    }
}

/// Runs an archiver that ends with an error; returns its summary.
async fn failing_run(world: &World) -> Value {
    let mut archiver = world.archiver();
    let status = archiver.wait(Duration::from_secs(60)).await;
    assert_eq!(status.code(), Some(1), "{}", archiver.stdout());
    summary(&archiver.stdout())
}

/// The summary on stdout, among the lines of the log.
fn summary(stdout: &str) -> Value {
    let line = stdout.lines().find(|line| line.starts_with("{\"policy\""));
    serde_json::from_str(line.unwrap()).unwrap()
}

fn object(world: &World, file: &str) -> PathBuf {
    world.dir.path().join("cold/events").join(file)
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_stops_only_its_own_file_and_removes_nothing_of_it() {
    let world = World::start(Some(policy(3_600_000, sampled()))).await;
    for part in [0..EVENTS / 2, EVENTS / 2..EVENTS] {
        world.publish(part).await;
        world.until_sealed().await;
        world.archive().await;
    }
    let rules = RuleSet::new(vec![policy(50, sampled())]);
    world.log.publish_policy(&rules).await.unwrap();
    world.until_left_warm().await;
    let files: Vec<String> = world.files("cold").await.into_iter().collect();
    assert!(files.len() > 2, "{files:?}");
    let damaged = [object(&world, &files[0]), object(&world, &files[1])];
    let bytes = damaged.clone().map(|path| fs::read(path).unwrap());
    fs::remove_file(&damaged[0]).unwrap();
    let mut flipped = bytes[1].clone();
    flipped[100] ^= 1;
    fs::write(&damaged[1], flipped).unwrap();

    let first = failing_run(&world).await;

    let found: Vec<String> = serde_json::from_value(first["damaged"].clone()).unwrap();
    assert_eq!(
        found,
        [&files[0], &files[1]].map(|file| format!("events/{file}"))
    );
    let errors = first["errors"].to_string();
    assert!(found.iter().all(|file| errors.contains(file)), "{errors}");
    let live = world.files("cold").await;
    assert!(
        files[..2].iter().all(|file| live.contains(file)),
        "{live:?}"
    );
    assert!(
        files[2..].iter().all(|file| !live.contains(file)),
        "{live:?}"
    );

    for (path, bytes) in damaged.iter().zip(bytes) {
        fs::write(path, bytes).unwrap();
    }
    let second = summary(&world.archive().await);
    assert_eq!(second["damaged"], serde_json::json!([]));
    let sampled_out = |summary: &Value| summary["sampled_out"].as_u64().unwrap();
    let kept = u64::try_from(world.in_cold("cold").await.len()).unwrap();
    assert!(sampled_out(&first) > 0 && sampled_out(&second) > 0);
    assert_eq!(kept + sampled_out(&first) + sampled_out(&second), EVENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_missing_or_cut_is_put_again_while_warm_has_its_rows() {
    let world = World::start(None).await;
    world.publish(0..EVENTS).await;
    world.until_sealed().await;
    world.archive().await;
    let files: Vec<String> = world.files("cold").await.into_iter().collect();
    fs::remove_file(object(&world, &files[0])).unwrap();
    fs::write(object(&world, &files[1]), b"PAR1").unwrap();

    let summary = summary(&world.archive().await);

    assert_eq!(summary["restored"], 2, "{summary}");
    world.assert_whole(EVENTS).await;
}
