//! The rules of the definition, evaluated without an API server. The cluster suite applies
//! `crds/examples/bad` to a real one.

use std::{fs, path::PathBuf};

use kube::core::cel::validate_cel;
use serde_json::Value;

use super::crd_yaml;
use crate::{parse::parse, validate::validate};

fn examples(folder: &str) -> Vec<(String, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../crds")
        .join(folder);
    let files = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let yaml = files.filter(|path| path.extension().is_some_and(|own| own == "yaml"));
    let mut read: Vec<(String, String)> = yaml
        .map(|path| {
            (
                path.display().to_string(),
                fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    read.sort();
    read
}

#[test]
fn the_examples_keep_every_rule_of_the_definition() {
    let examples = examples("examples");
    assert!(examples.len() >= 3, "{examples:?}");
    for (file, yaml) in examples {
        for policy in parse(&yaml).unwrap() {
            assert_eq!(
                validate_cel(&policy).map_err(|e| e.to_string()),
                Ok(()),
                "{file}"
            );
        }
    }
}

/// A file is refused for everything that the definition refuses; if the reason is a CEL rule, with the
/// same message.
#[test]
fn the_bad_examples_are_refused_with_the_messages_that_they_announce() {
    let mut compared = 0;
    for (file, yaml) in examples("examples/bad") {
        let announced = yaml
            .lines()
            .next()
            .unwrap()
            .strip_prefix("# refused: ")
            .unwrap();
        let Ok(policies) = parse(&yaml) else {
            assert!(announced.contains("unknown field"), "{file}");
            continue;
        };
        let found: String = validate(&policies[0])
            .iter()
            .map(|own| format!("{own}\n"))
            .collect();
        assert!(!found.is_empty(), "{file} is accepted from a file");
        if let Err(refusals) = validate_cel(&policies[0]) {
            let refusals = refusals.to_string();
            assert!(refusals.contains(announced), "{file}: {refusals}");
            assert!(found.contains(announced), "{file}: {found}");
            compared += 1;
        }
    }
    assert_eq!(
        compared, 14,
        "each of these breaks a rule that is written as CEL"
    );
}

#[test]
fn the_definition_has_the_bounds_that_files_are_checked_against() {
    let definition: Value = serde_saphyr::from_str(&crd_yaml()).unwrap();
    let version = &definition["spec"]["versions"][0];
    let root = &version["schema"]["openAPIV3Schema"]["properties"];
    let spec = &root["spec"]["properties"];
    assert_eq!(spec["priority"]["maximum"], 10_000);
    assert_eq!(spec["selector"]["properties"]["tenants"]["maxItems"], 64);
    assert_eq!(spec["tiers"]["minProperties"], 1);
    assert_eq!(
        spec["tiers"]["properties"]["hot"]["properties"]["maxAge"]["maxLength"],
        6
    );
    assert_eq!(
        version["selectableFields"][0]["jsonPath"],
        ".spec.enforcement"
    );
    let text = crd_yaml();
    assert!(!text.contains("nullable") && !text.contains("additionalProperties: false"));
}
