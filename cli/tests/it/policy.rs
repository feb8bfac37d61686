//! `isotherm policy lint`: what is wrong with a file, and what to write instead.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use crate::dev::{isotherm, run, text};

const HEAD: &str = "apiVersion: isotherm.dev/v1alpha1\nkind: RetentionPolicy\n";

#[test]
fn a_policy_that_cannot_be_used_is_refused_with_what_to_write_instead() {
    let bad = |name: &str| root().join("crds/examples/bad").join(name);
    let dir = TempDir::new().unwrap();
    let rivals = dir.path().join("rivals.yaml");
    let rival = |name: &str, age: &str| {
        format!(
            "---\n{HEAD}metadata: {{name: {name}}}\nspec: {{tiers: {{hot: {{maxAge: {age}}}}}}}\n"
        )
    };
    fs::write(&rivals, rival("one", "1h") + &rival("two", "2h")).unwrap();
    for (file, sentence) in [
        (
            bad("negative-age.yaml"),
            "write a whole number from 1 to 99999 and one of the units",
        ),
        (
            bad("300-globs.yaml"),
            "at most 64 are allowed, write globs such as case-* or a second policy",
        ),
        (
            bad("unknown-field.yaml"),
            "line 6: unknown field `maxAgee`, expected `maxAge`",
        ),
        (
            bad("name-of-253.yaml"),
            "a policy's name must be 63 characters or less",
        ),
        (rivals, "give one of them another priority or a selector"),
    ] {
        let output = run(isotherm(7400, &["policy", "lint", file.to_str().unwrap()]));
        let said = text(&output.stderr);
        assert!(!output.status.success(), "{} is taken", file.display());
        assert!(said.contains(sentence), "{}: {said}", file.display());
    }
}

#[test]
fn the_examples_are_good() {
    for name in ["default", "minutes", "regulated"] {
        let file = root().join(format!("crds/examples/{name}.yaml"));
        let output = run(isotherm(7400, &["policy", "lint", file.to_str().unwrap()]));
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
