//! Upgrades, and an uninstall with a new installation.

use tempfile::TempDir;

use crate::{
    kubectl::{helm, run},
    load::Load,
    policy::{IN_FORCE, policy},
    world::{RELEASE, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_under_load_loses_no_event_and_an_uninstall_keeps_policies_and_data() {
    let world = World::empty("upgrade");
    let folder = TempDir::new().unwrap();
    let before = previous_chart(&world, folder.path().to_str().unwrap());
    world.helm("install", &before, &[]);
    world.until_ready().await;
    world.apply(&policy("kept", "tiers: {warm: {maxAge: 3d}}"));

    let load = Load::start(&world.client, "case");
    let restart = ["--set", "podAnnotations.example\\.com/upgraded=yes"];
    world.helm("upgrade", &world.chart(), &restart);
    world.until_ready().await;
    let posted = load.stop().await;
    world.client.assert_returns_exactly("case", &posted).await;

    let claims = "get pvc --output jsonpath={.items[*].metadata['name','uid']}";
    let volumes = world.kubectl(claims);
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
    world.helm("install", &world.chart(), &[]);
    world.until_ready().await;
    world.client.assert_returns_exactly("case", &posted).await;
    assert_eq!(world.kubectl(claims), volumes);
    let kept = world.until_condition("kept", "Ready", IN_FORCE).await;
    assert_eq!(kept.status()["effective"]["warmSeconds"], 3 * 86400);
}

/// Returns the chart as it was before the last change of it on this branch; that of this tree when there is no such.
fn previous_chart(world: &World, folder: &str) -> String {
    let root = world.setting.root.to_str().unwrap();
    let log = format!("-C {root} log --first-parent --format=%P --max-count=1 -- charts/isotherm");
    let parents = run("git", &log, &[]);
    let Some(commit) = parents.split_whitespace().next() else {
        return world.chart();
    };
    let archive = format!("{folder}/chart.tar");
    let parts = "charts/isotherm e2e/tests/cluster/values.yaml";
    let line = format!("-C {root} archive --output {archive} {commit} {parts}");
    run("git", &line, &[]);
    run("tar", &format!("-xf {archive} -C {folder}"), &[]);
    format!("{folder}/charts/isotherm")
}
