//! Upgrades and the end.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::{task::JoinHandle, time};
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    events::{ids, lines},
    kubectl::{helm, run},
    policy::{IN_FORCE, policy},
    world::{RELEASE, World},
};

/// How long a client goes on with one batch before its user hears of it.
const PATIENCE: Duration = Duration::from_secs(60);
const PACE: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_under_load_costs_no_event_and_an_uninstall_keeps_policies_and_data() {
    let world = World::empty("upgrade");
    let folder = TempDir::new().unwrap();
    let before = previous_chart(&world, folder.path().to_str().unwrap());
    world.helm("install", &before, &[]);
    world.until_ready().await;
    world.apply(&policy("kept", "tiers: {warm: {maxAge: 3d}}"));

    let stop = CancellationToken::new();
    let load = load(world.client.clone(), stop.clone());
    let restart = ["--set", "podAnnotations.example\\.com/upgraded=yes"];
    world.helm("upgrade", &world.chart(), &restart);
    world.until_ready().await;
    stop.cancel();
    let posted = load.await.unwrap();
    world.client.assert_holds("case", &ids(0..posted)).await;

    let volumes = world.kubectl("get pvc --output name");
    let uninstall = |release: &str, namespace: &str| {
        helm(
            &format!("uninstall {release} --namespace {namespace} --wait"),
            &[],
        );
    };
    uninstall(RELEASE, &world.namespace);
    uninstall("isotherm-crds", "default");
    world.install_definitions();
    assert!(
        volumes.contains(&format!("data-{RELEASE}-compactor-0")),
        "{volumes}"
    );
    assert_eq!(world.kubectl("get pvc --output name"), volumes);
    world.helm("install", &world.chart(), &[]);
    world.until_ready().await;
    world.client.assert_holds("case", &ids(0..posted)).await;
    let kept = world.until_condition("kept", "Ready", IN_FORCE).await;
    assert_eq!(kept.status()["effective"]["warmSeconds"], 3 * 86400);
}

/// Posts and reads until it is told to stop; how many events were acknowledged. Everything may have
/// to be tried again, but not for long.
fn load(client: Client, stop: CancellationToken) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let (mut posted, mut pace) = (0, time::interval(PACE));
        while !stop.is_cancelled() {
            pace.tick().await;
            let batch = lines("case", posted..posted + 10);
            let started = Instant::now();
            while !client.try_post(&batch).await {
                assert!(started.elapsed() < PATIENCE, "a batch is not acknowledged");
            }
            posted += 10;
            while client.read("case").await.is_none() {
                assert!(started.elapsed() < PATIENCE, "nothing is answered");
            }
        }
        posted
    })
}

/// The chart of the last commit that changed it, or this tree's where there was none before.
fn previous_chart(world: &World, folder: &str) -> String {
    let root = world.setting.root.to_str().unwrap();
    let log = format!("-C {root} log --format=%H --max-count=2 -- charts/isotherm");
    let commits = run("git", &log, &[]);
    let Some(commit) = commits.lines().nth(1) else {
        return world.chart();
    };
    let archive = format!("{folder}/chart.tar");
    let line = format!("-C {root} archive --output {archive} {commit} charts/isotherm");
    run("git", &line, &[]);
    run("tar", &format!("-xf {archive} -C {folder}"), &[]);
    format!("{folder}/charts/isotherm")
}
