use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::Command,
};

use tempfile::TempDir;
use testkit::{Service, eventually_within};

use super::{Dev, ISOTHERM, START, alive, args, children, free_base, run, text};

/// The child of a `dev` with this name; `None` while there is none.
fn child(dev: &Dev, name: &str) -> Option<u32> {
    let comm = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let children = alive(&children(dev.process.pid()));
    children.into_iter().find(|pid| comm(pid).trim() == name)
}

fn kill(pid: u32) {
    let mut kill = Command::new("kill");
    kill.args(["-9", &pid.to_string()]);
    assert!(run(kill).status.success());
}

#[tokio::test]
async fn each_child_that_is_killed_comes_back_and_nothing_is_lost() {
    let dir = TempDir::new().unwrap();
    let mut dev = Dev::start(dir.path(), free_base(), &[]).await;
    let mut stored = String::new();
    for (name, comm) in [
        ("nats", "nats-server"),
        ("valkey", "valkey-server"),
        ("ingest", "ingest"),
        ("hot-writer", "hot-writer"),
        ("compactor", "compactor"),
        ("query", "query"),
        ("archiver", "archiver"),
    ] {
        let old = child(&dev, comm).unwrap();
        kill(old);
        let event = format!("after {name} ");
        eventually_within(
            START,
            &format!("ingest answers without {name}"),
            async || {
                let id = ["--event-id", name, "--conversation", "c", &event];
                let said = run(dev.isotherm(&[&["append"][..], &id].concat()));
                said.status.success()
            },
        )
        .await;
        stored += &event;
        eventually_within(START, &format!("{name} runs again"), async || {
            child(&dev, comm).is_some_and(|pid| pid != old)
        })
        .await;
        eventually_within(
            START,
            &format!("everything is read after {name}"),
            async || {
                let read = run(dev.isotherm(&["get", "c", "--text"]));
                read.status.success() && text(&read.stdout) == stored
            },
        )
        .await;
        let said = dev.process.stderr();
        let line = format!("{name} ended (signal 9), restarting in 1 s");
        assert!(said.contains(&line), "{said}");
    }
    assert!(dev.process.ended().is_none(), "{}", dev.process.stderr());
    dev.stop().await;
}

#[tokio::test]
async fn a_child_that_ends_five_times_within_a_minute_ends_the_others_with_its_reason() {
    let dir = TempDir::new().unwrap();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for name in [
        "ingest",
        "hot-writer",
        "compactor",
        "executor",
        "query",
        "archiver",
    ] {
        std::os::unix::fs::symlink(testkit::program(name), bin.join(name)).unwrap();
    }
    let isotherm = bin.join("isotherm");
    fs::copy(ISOTHERM, &isotherm).unwrap();
    let tools = format!("{}/../.tools", env!("CARGO_MANIFEST_DIR"));
    let data = dir.path().join("data");
    let args = args(&data, free_base(), &["--tools", &tools]);
    let mut dev = Dev {
        base: 0,
        process: Service::start(isotherm.to_str().unwrap(), args),
    };
    dev.ready().await;
    let children = children(dev.process.pid());
    fs::remove_file(bin.join("archiver")).unwrap();
    fs::write(
        bin.join("archiver"),
        "#!/bin/sh\necho the disk is tired >&2\nexit 3\n",
    )
    .unwrap();
    fs::set_permissions(bin.join("archiver"), Permissions::from_mode(0o755)).unwrap();
    kill(child(&dev, "archiver").unwrap());

    assert_eq!(dev.process.wait(START).await.code(), Some(1));

    let said = dev.process.stderr();
    for pause in ["1 s", "2 s", "4 s", "8 s"] {
        assert!(said.contains(&format!("restarting in {pause}")), "{said}");
    }
    assert!(
        said.contains("archiver ended (exit status 3), for the fifth time"),
        "{said}"
    );
    assert!(said.contains("the disk is tired"), "{said}");
    assert_eq!(alive(&children), [] as [u32; 0]);
}
