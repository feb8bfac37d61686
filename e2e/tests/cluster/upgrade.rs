//! Upgrades and the end.

use std::{fs, path::Path};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    events::{ids, lines},
    kubectl::{helm, run},
    world::{RELEASE, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_under_load_costs_no_event_and_an_uninstall_keeps_the_data() {
    let world = World::empty("upgrade");
    let before = previous_chart(&world);
    world.helm("install", &before, &[]);
    world.until_ready().await;

    let stop = CancellationToken::new();
    let load = load(world.client.clone(), stop.clone());
    let chart = world.setting.root.join("charts/isotherm");
    let restart = ["--set", "podAnnotations.example\\.com/upgraded=yes"];
    world.helm("upgrade", chart.to_str().unwrap(), &restart);
    world.until_ready().await;
    stop.cancel();
    let posted = load.await.unwrap();
    world.client.assert_holds("case", &ids(0..posted)).await;

    helm(
        &format!("uninstall {RELEASE} --namespace {} --wait", world.namespace),
        &[],
    );
    world.helm("install", chart.to_str().unwrap(), &[]);
    world.until_ready().await;
    world.client.assert_holds("case", &ids(0..posted)).await;
}

/// Posts until it is told to stop; how many events were acknowledged.
fn load(client: Client, stop: CancellationToken) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let mut posted = 0;
        while !stop.is_cancelled() {
            if client.try_post(&lines("case", posted..posted + 10)).await {
                posted += 10;
            }
        }
        posted
    })
}

/// The chart of the last commit that changed it, or this tree's where there was none before.
fn previous_chart(world: &World) -> String {
    let root = world.setting.root.to_str().unwrap();
    let log = format!("-C {root} log --format=%H --max-count=2 -- charts/isotherm");
    let commits = run("git", &log, &[]);
    let Some(commit) = commits.lines().nth(1) else {
        return format!("{root}/charts/isotherm");
    };
    let dir = std::env::temp_dir().join(format!("{}-chart", world.namespace));
    let archive = dir.join("chart.tar");
    fs::create_dir_all(&dir).unwrap();
    let (dir, archive) = (text(&dir), text(&archive));
    run(
        "git",
        &format!("-C {root} archive --output {archive} {commit} charts/isotherm"),
        &[],
    );
    run("tar", &format!("-xf {archive} -C {dir}"), &[]);
    format!("{dir}/charts/isotherm")
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
