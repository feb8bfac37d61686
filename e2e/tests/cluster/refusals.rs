//! Policies that the API server itself refuses, and its messages.

use std::fs;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_refuses_every_bad_example_with_its_reason_and_accepts_the_good_ones() {
    let world = World::empty("refusals");
    for (name, example) in examples(&world, "crds/examples") {
        world
            .try_apply_with("apply", &example)
            .unwrap_or_else(|error| panic!("{name} is refused: {error}"));
    }
    let bad = examples(&world, "crds/examples/bad");
    assert!(bad.len() >= 7, "{} bad examples", bad.len());
    for (name, example) in bad {
        let first = example.lines().next().unwrap();
        let reason = first.strip_prefix("# refused: ").unwrap();
        let Err(error) = world.try_apply_with("apply", &example) else {
            panic!("{name} is accepted");
        };
        assert!(
            error.contains(reason),
            "{name} is refused without {reason:?}: {error}"
        );
    }
}

/// Returns the files of a folder as (path, text), with the namespace replaced by that of `world`.
fn examples(world: &World, folder: &str) -> Vec<(String, String)> {
    let files = fs::read_dir(world.setting.root.join(folder)).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let files = files.filter(|path| path.is_file());
    let example = |path: std::path::PathBuf| {
        let mut text = fs::read_to_string(&path).unwrap();
        for namespace in ["isotherm", "default"] {
            let original = format!("namespace: {namespace}");
            text = text.replace(&original, &format!("namespace: {}", world.namespace));
        }
        (path.display().to_string(), text)
    };
    files.map(example).collect()
}
