//! The rules of the definition, evaluated without an API server. The cluster suite applies
//! `crds/examples/bad` to a real one.

use std::{fs, path::PathBuf};

use kube::core::cel::validate_cel;
use serde_json::Value;

use super::{DEFINITIONS, crd_yaml};
use crate::{parse::parse, tenant_binding::TenantBinding, validate::validate};

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

/// The examples of one kind of resource.
fn examples_of(kind: &str, folder: &str) -> Vec<(String, String)> {
    let mut examples = examples(folder);
    examples.retain(|(_, yaml)| yaml.contains(&format!("kind: {kind}\n")));
    assert!(!examples.is_empty());
    examples
}

/// The message that the first line of a bad example announces.
fn announced(yaml: &str) -> &str {
    let first = yaml.lines().next().unwrap();
    first.strip_prefix("# refused: ").unwrap()
}

#[test]
fn the_examples_keep_every_rule_of_the_definition() {
    let examples = examples_of("RetentionPolicy", "examples");
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
    for (file, yaml) in examples_of("RetentionPolicy", "examples/bad") {
        let announced = announced(&yaml);
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
    let definition: Value = serde_saphyr::from_str(&crd_yaml(DEFINITIONS[0]).unwrap()).unwrap();
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
    for plural in DEFINITIONS {
        let text = crd_yaml(plural).unwrap();
        assert!(!text.contains("nullable") && !text.contains("additionalProperties: false"));
    }
}

#[test]
fn the_bindings_of_the_examples_are_accepted_and_the_bad_ones_refused_with_their_messages() {
    let read = |yaml: &str| -> TenantBinding { serde_saphyr::from_str(yaml).unwrap() };
    for (file, yaml) in examples_of("TenantBinding", "examples") {
        let checked = validate_cel(&read(&yaml)).map_err(|error| error.to_string());
        assert_eq!(checked, Ok(()), "{file}");
    }
    let mut compared = 0;
    for (file, yaml) in examples_of("TenantBinding", "examples/bad") {
        if let Err(refusals) = validate_cel(&read(&yaml)) {
            let refusals = refusals.to_string();
            assert!(refusals.contains(announced(&yaml)), "{file}: {refusals}");
            compared += 1;
        }
    }
    assert_eq!(
        compared, 2,
        "each of these breaks a rule that is written as CEL"
    );
}

#[test]
fn a_binding_has_bounds_and_one_star_at_most_which_is_last() {
    let definition: Value = serde_saphyr::from_str(&crd_yaml(DEFINITIONS[1]).unwrap()).unwrap();
    assert_eq!(definition["spec"]["scope"], "Cluster");
    let root = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let tenants = &root["spec"]["properties"]["tenants"];
    assert_eq!(
        (&tenants["minItems"], &tenants["maxItems"]),
        (&1.into(), &64.into())
    );
    assert_eq!(tenants["items"]["pattern"], r"^[^*?\x00-\x1F\x7F]*\*?$");
}
