use super::*;

#[test]
fn dependencies_that_point_down_are_allowed() {
    let found = check(&[
        (
            "crates",
            "event-log",
            &["async-nats", "event", "dev:testkit"],
        ),
        (
            "crates",
            "cold-tier",
            &["object_store", "deltalake-core", "parquet", "segment"],
        ),
        ("crates", "segment", &["parquet", "event"]),
        ("crates", "event", &[]),
        (
            "services",
            "query",
            &["cold-tier", "warm-tier", "hot-tier", "dev:testkit"],
        ),
        ("crates", "warm-tier", &["duckdb", "dev:parquet"]),
        ("crates", "hot-tier", &["redis"]),
        ("crates", "testkit", &["tokio"]),
    ]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_foreign_system_has_one_crate() {
    let found = check(&[("services", "query", &["duckdb", "parquet"])]);
    assert_eq!(
        found,
        [
            "query links duckdb, which only warm-tier may: use warm-tier instead",
            "query links parquet, which only segment and cold-tier may: use segment and cold-tier \
             instead",
        ]
    );
}

#[test]
fn a_tier_or_service_may_not_depend_on_another() {
    let found = check(&[
        ("crates", "hot-tier", &["dev:cold-tier"]),
        ("crates", "cold-tier", &[]),
        ("services", "query", &["compactor"]),
        ("services", "compactor", &[]),
        ("crates", "event", &["compactor"]),
    ]);
    assert_eq!(
        found,
        [
            "hot-tier depends on cold-tier: tiers do not know each other",
            "query depends on compactor: services never depend on services",
            "event depends on compactor: a crate never depends on a program",
        ]
    );
}

#[test]
fn the_runtime_is_independent_and_the_testkit_is_for_tests() {
    let found = check(&[
        ("crates", "service-runtime", &["event"]),
        ("services", "query", &["testkit"]),
        ("crates", "event", &[]),
        ("crates", "testkit", &[]),
    ]);
    assert_eq!(
        found,
        [
            "service-runtime depends on event, but it may not depend on a package of this \
             workspace",
            "query depends on testkit, which may only be a dev-dependency",
        ]
    );
}

#[test]
fn a_second_tls_is_refused() {
    let metadata = Metadata {
        members: Vec::new(),
        linked: vec!["rustls".into(), "openssl-sys".into()],
    };
    let found = violations(&metadata);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("openssl-sys is linked"), "{found:?}");
}

/// Members as (folder, name, dependencies); `dev:` marks a dev-dependency.
fn check(members: &[(&str, &str, &[&str])]) -> Vec<String> {
    let dependency = |name: &str| Dependency {
        name: name.trim_start_matches("dev:").into(),
        dev: name.starts_with("dev:"),
    };
    let members = members
        .iter()
        .map(|(folder, name, dependencies)| Member {
            name: (*name).into(),
            folder: (*folder).into(),
            dependencies: dependencies.iter().map(|name| dependency(name)).collect(),
        })
        .collect();
    violations(&Metadata {
        members,
        linked: Vec::new(),
    })
}
