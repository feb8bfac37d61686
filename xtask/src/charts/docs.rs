//! Checks that docs/operations.md describes every value and every alert.

use std::fs;

use anyhow::ensure;
use serde_json::Value;

use crate::run;

/// Values of every program, described once above the table.
const COMMON: [&str; 7] = [
    "resources",
    "extraArgs",
    "extraEnv",
    "nodeSelector",
    "tolerations",
    "affinity",
    "topologySpreadConstraints",
];

pub(super) fn check() -> anyhow::Result<()> {
    let read = |path: &str| fs::read_to_string(run::root().join(path));
    let docs = read("docs/operations.md")?;
    let schema: Value = serde_json::from_str(&read("charts/isotherm/values.schema.json")?)?;
    let mut expected = Vec::new();
    values(&schema, "", &mut expected);
    let alerts = read("charts/isotherm/files/alerts.yaml")?;
    let alerts = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    expected.extend(alerts.map(|alert| format!("### {alert}\n")));
    let missing: Vec<_> = expected
        .iter()
        .filter(|text| !docs.contains(*text))
        .collect();
    ensure!(
        missing.is_empty(),
        "docs/operations.md does not describe {missing:?}"
    );
    Ok(())
}

/// Adds the rows that the table must have.
fn values(schema: &Value, prefix: &str, rows: &mut Vec<String>) {
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if COMMON.contains(&name.as_str()) || name == "global" {
            continue;
        }
        let path = format!("{prefix}{name}");
        match schema["properties"].is_object() {
            true => values(schema, &format!("{path}."), rows),
            false if schema["$ref"] == "#/$defs/reach" => {
                rows.extend(["peers", "ports"].map(|part| format!("| `{path}.{part}` |")));
            }
            false => rows.push(format!("| `{path}` |")),
        }
    }
}
