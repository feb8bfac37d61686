//! The rules of the architecture. Pure: packages in, messages out.

use super::metadata::{Dependency, Member, Metadata};

/// Each foreign system, and the crates that may link its client.
const WRAPPERS: &[(&str, &[&str])] = &[
    ("async-nats", &["event-log"]),
    ("redis", &["hot-tier"]),
    ("duckdb", &["warm-tier"]),
    ("object_store", &["cold-tier"]),
    ("deltalake-core", &["cold-tier"]),
    ("parquet", &["segment", "cold-tier"]),
    ("rusqlite", &["isotherm"]),
    ("kube", &["operator", "k8s-api", "e2e"]),
];

/// Tiers, which may not depend on each other: only a service uses several.
const TIERS: &[&str] = &["hot-tier", "warm-tier", "cold-tier"];

/// Other TLS libraries than rustls.
const BANNED_PACKAGES: &[&str] = &["native-tls", "openssl", "openssl-sys"];

pub(super) fn violations(metadata: &Metadata) -> Vec<String> {
    let mut found = Vec::new();
    for member in &metadata.members {
        for dependency in &member.dependencies {
            found.extend(violation(member, dependency, metadata));
        }
    }
    for name in BANNED_PACKAGES {
        if metadata.linked.iter().any(|linked| linked == name) {
            found.push(format!(
                "{name} is linked; find out by whom with `cargo tree --invert {name}` and use rustls"
            ));
        }
    }
    found
}

/// The rule that this one dependency breaks.
fn violation(from: &Member, to: &Dependency, metadata: &Metadata) -> Option<String> {
    let name = from.name.as_str();
    let to_member = metadata
        .members
        .iter()
        .find(|member| member.name == to.name);
    if let (false, Some((_, allowed))) = (
        to.dev,
        WRAPPERS.iter().find(|(wrapped, _)| *wrapped == to.name),
    ) && !allowed.contains(&name)
    {
        let allowed = allowed.join(" and ");
        return Some(format!(
            "{name} links {}, which only {allowed} may: use {allowed} instead",
            to.name
        ));
    }
    if to.name == "testkit" && !to.dev {
        return Some(format!(
            "{name} depends on testkit, which may only be a dev-dependency"
        ));
    }
    if TIERS.contains(&name) && TIERS.contains(&to.name.as_str()) {
        return Some(format!(
            "{name} depends on {}: tiers do not know each other",
            to.name
        ));
    }
    let to_member = to_member?;
    if from.folder == "services" && to_member.folder == "services" {
        return Some(format!(
            "{name} depends on {}: services never depend on services",
            to.name
        ));
    }
    if from.folder == "crates" && to_member.folder != "crates" {
        return Some(format!(
            "{name} depends on {}: a crate never depends on a program",
            to.name
        ));
    }
    let independent = ["service-runtime", "testkit", "xtask"];
    if independent.contains(&name) && !to.dev {
        return Some(format!(
            "{name} depends on {}, but it may not depend on a package of this workspace",
            to.name
        ));
    }
    None
}

#[cfg(test)]
mod tests;
