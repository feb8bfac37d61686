//! What the API server itself refuses, and the sentence with which it does.

use std::fs;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_refuses_every_bad_example_with_its_reason_and_takes_the_good_ones() {
    let world = World::empty("refusals");
    for (name, example) in examples(&world, "crds/examples") {
        world
            .feed("apply", &example)
            .unwrap_or_else(|said| panic!("{name} is refused: {said}"));
    }
    let bad = examples(&world, "crds/examples/bad");
    assert!(bad.len() >= 7, "{} bad examples", bad.len());
    for (name, example) in bad {
        let first = example.lines().next().unwrap();
        let reason = first.strip_prefix("# refused: ").unwrap();
        let Err(said) = world.feed("apply", &example) else {
            panic!("{name} is taken");
        };
        assert!(
            said.contains(reason),
            "{name} is refused without {reason:?}: {said}"
        );
    }
}

/// The files of a folder, moved into our namespace.
fn examples(world: &World, folder: &str) -> Vec<(String, String)> {
    let files = fs::read_dir(world.setting.root.join(folder)).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let files = files.filter(|path| path.is_file());
    let example = |path: std::path::PathBuf| {
        let mut text = fs::read_to_string(&path).unwrap();
        for namespace in ["isotherm", "default"] {
            let there = format!("namespace: {namespace}");
            text = text.replace(&there, &format!("namespace: {}", world.namespace));
        }
        (path.display().to_string(), text)
    };
    files.map(example).collect()
}
