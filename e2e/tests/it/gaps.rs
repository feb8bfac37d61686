//! A range that every tier has lost: it blocks its partition until a person accepts it, and is named
//! for ever.

use std::{fs, process::Output, time::Duration};

use event_log::LogState;
use serde_json::{Value, json};
use testkit::{eventually, program};

use crate::{
    agents,
    damage::positions,
    world::{Setup, World, keep_all},
};

const HOUR: u64 = 3_600_000;

impl World {
    /// Runs `isotherm gap` with `args`; returns whether it succeeded, and what it said.
    async fn gap(&self, args: &[&str]) -> (bool, String) {
        let args = [&["gap"], args, &["--nats-url", &self.nats.url]].concat();
        let mut command = tokio::process::Command::new(program("isotherm"));
        let Output {
            status,
            stdout,
            stderr,
        } = command.args(args).output().await.unwrap();
        let said = [stdout, stderr].concat();
        (status.success(), String::from_utf8(said).unwrap())
    }

    /// The state of the log, which has one partition.
    pub(crate) async fn log_state(&self) -> LogState {
        let log = self.log().await;
        let count = log.partition_count().await.unwrap().unwrap();
        log.state(count.all().next().unwrap()).await.unwrap()
    }

    /// The statistics by hour.
    pub(crate) async fn hours(&self) -> Value {
        let answer = self.http.get(self.query("/v1/stats/hourly")).send().await;
        answer.unwrap().json().await.unwrap()
    }

    /// Loses the warm volume and, before warm has read them, all but the last of the new messages of the
    /// log. Returns the range that is lost.
    async fn lose(&mut self, lost: &[String]) -> (u64, u64) {
        let archived = self.log_state().await.last;
        self.kill("compactor").await;
        self.kill("hot-writer").await;
        self.valkey.flush().await;
        self.post(lost, 50).await;
        let last = self.log_state().await.last;
        let log = self.log().await;
        let count = log.partition_count().await.unwrap().unwrap();
        let only = count.all().next().unwrap();
        log.purge_through(only, last - 1).await.unwrap();
        fs::remove_dir_all(self.path("warm")).unwrap();
        for name in ["compactor", "hot-writer"] {
            self.start_service(name);
            self.until_ready(name).await;
        }
        (archived + 1, last - 1)
    }
}

/// Everything but what was lost is returned, and that is named, by pages, SQL and statistics.
async fn assert_named(world: &World, (from, to): (u64, u64), expected: usize) {
    let missing = json!([{"partition": "g1p00e1", "from": from, "to": to}]);
    let (found, answer) = positions(world).await;
    assert_eq!(found.len(), expected);
    assert_eq!(
        (&answer["complete"], &answer["missing"]),
        (&json!(false), &missing)
    );
    let hours = world.hours().await;
    assert_eq!(
        (&hours["complete"], &hours["missing"]),
        (&json!(false), &missing)
    );
    let events = hours["hours"].as_array().unwrap().iter();
    let events = events.map(|hour| hour["events"].as_u64().unwrap());
    assert_eq!(events.sum::<u64>(), expected as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_every_tier_has_lost_blocks_until_it_is_accepted_and_is_named_for_ever() {
    let setup = Setup {
        partitions: 1,
        ..Setup::default()
    };
    let mut world = World::start_with(setup).await;
    world.set_policy(HOUR, HOUR, keep_all()).await;
    let (first, lost, last) = (
        agents::run(21, 300, 3),
        agents::run(22, 300, 3),
        agents::run(23, 300, 3),
    );
    world.post(&first, 50).await;
    world.until_sealed().await;
    world.archive().await;
    let (from, to) = world.lose(&lost).await;
    world.post(&last, 50).await;
    world.until_sealed().await;
    let (left, _) = positions(&world).await;
    let left = left.len();
    assert!(
        left > first.len() && left < first.len() + lost.len() + last.len(),
        "{left}"
    );

    // It blocks: the archiver says the command.
    let mut archiver = world.start_archiver();
    assert_eq!(archiver.wait(Duration::from_secs(60)).await.code(), Some(1));
    let command = format!("isotherm gap accept g1p00e1:{from}-{to} --yes");
    let said = archiver.stdout() + &archiver.stderr();
    assert!(said.contains(&command), "{said}");
    eventually("the gap is counted", async || {
        let metrics = world.admin("compactor", "/metrics").await;
        metrics.contains("isotherm_compactor_gaps 1")
    })
    .await;
    let gap = format!("g1p00e1:{from}-{to}");
    let (ok, listed) = world.gap(&["list"]).await;
    assert!(
        ok && listed.contains(&gap) && listed.contains("the archive, and the purge"),
        "{listed}"
    );
    assert_named(&world, (from, to), left).await;

    // What a tier has cannot be given up, and nothing without --yes.
    for wrong in [
        format!("g1p00e1:{from}-{}", to + 1),
        format!("g1p00e1:1-{}", from - 1),
    ] {
        let (ok, said) = world.gap(&["accept", &wrong, "--yes"]).await;
        assert!(!ok && said.contains("is no open gap"), "{said}");
    }
    let (ok, said) = world.gap(&["accept", &gap]).await;
    assert!(!ok && said.contains("--yes"), "{said}");

    let (ok, said) = world
        .gap(&["accept", &gap, "--yes", "--reason", "a test", "--by", "me"])
        .await;
    assert!(ok, "{said}");
    world.archive().await;

    eventually("the log is purged behind the gap", async || {
        let log = world.log_state().await;
        log.first == log.last
    })
    .await;
    eventually("the gap is closed", async || {
        let metrics = world.admin("compactor", "/metrics").await;
        metrics.contains("isotherm_compactor_gaps 0") && world.gap(&["list"]).await.1 == "no gaps\n"
    })
    .await;
    let (_, accepted) = world.gap(&["list", "--accepted", "-o", "ndjson"]).await;
    let accepted: Value = serde_json::from_str(&accepted).unwrap();
    assert_eq!(
        (&accepted["by"], &accepted["reason"]),
        (&json!("me"), &json!("a test"))
    );
    assert_named(&world, (from, to), left).await;
    for name in [&first[0], &last[0]].map(|line| agents::conversation(line)) {
        assert!(!world.read(&name).await.complete, "{name}");
    }

    // Also when only cold has anything.
    world.set_policy(1000, 1000, keep_all()).await;
    world.valkey.flush().await;
    eventually("warm is empty", async || {
        let metrics = world.admin("compactor", "/metrics").await;
        metrics.contains("isotherm_tier_events{tier=\"warm\"} 0")
    })
    .await;
    assert_named(&world, (from, to), left).await;
}
