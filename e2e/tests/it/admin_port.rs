//! The admin port of each service: health and metrics.

use std::collections::BTreeSet;

use crate::{
    agents,
    world::{SERVICES, World},
};

/// Suffixes that a metric must not have: Prometheus wants base units and `_total`.
const FORBIDDEN_SUFFIXES: [&str; 6] = ["_ms", "_millis", "_milliseconds", "_count", "_kb", "_mb"];

/// The name and the text of each `# HELP` or `# TYPE` line.
fn described(text: &str, keyword: &str) -> BTreeSet<(String, String)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(keyword));
    let lines = lines.filter_map(|line| line.trim_start().split_once(' '));
    lines
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_follow_the_naming_rules_and_have_no_conversation_labels() {
    let world = World::start().await;
    world.post(&agents::run(7, 100, 3), 50).await;
    world.until_sealed().await;
    world.read("run-7-0").await;
    for service in SERVICES {
        let text = world.admin(service, "/metrics").await;
        let types = described(&text, "# TYPE");
        let helps = described(&text, "# HELP");
        let named: BTreeSet<&str> = helps.iter().map(|(name, _)| name.as_str()).collect();
        assert!(!types.is_empty(), "{service}: {text}");
        for (name, kind) in &types {
            let place = format!("{service}: {name}");
            assert!(named.contains(name.as_str()), "{place} has help");
            assert!(
                name.starts_with("isotherm_") || name.starts_with("process_"),
                "{place} has our prefix"
            );
            assert_eq!(
                kind == "counter",
                name.ends_with("_total"),
                "{place}: {kind}"
            );
            assert!(
                !FORBIDDEN_SUFFIXES
                    .iter()
                    .any(|suffix| name.ends_with(suffix)),
                "{place}"
            );
        }
        assert_eq!(
            types.len(),
            named.len(),
            "{service}: each is described once"
        );
        assert!(
            !text.contains("run-7-"),
            "{service}: labels are from closed sets"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_ready_names_the_reason_and_stays_alive() {
    let mut world = World::start().await;
    world.nats.kill().await;
    testkit::eventually("ingest is not ready", async || {
        world
            .admin("ingest", "/readyz?verbose")
            .await
            .contains("nats")
            && world.admin_status("ingest", "/readyz").await == 503
    })
    .await;
    for service in SERVICES {
        assert_eq!(
            world.admin_status(service, "/livez").await,
            200,
            "{service}"
        );
    }
    world.nats.restart().await;
    for service in SERVICES {
        world.until_ready(service).await;
    }
}
