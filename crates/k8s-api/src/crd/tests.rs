//! The definition's own rules, run without an API server; `crds/examples/bad` runs on a real one
//! in the cluster suite.

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

/// What the definition refuses, a file is refused for too; and where the reason is a rule that
/// compares fields, in the same words.
#[test]
fn the_bad_examples_are_refused_in_the_words_that_they_announce() {
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
        compared, 13,
        "each of these breaks a rule that is written as CEL"
    );
}

#[test]
fn the_bounds_that_the_definition_has_are_those_that_files_are_held_to() {
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
