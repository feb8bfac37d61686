use std::{
    fs::{self, File},
    process::Stdio,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use testkit::eventually;

use crate::dev::{Dev, free_base, isotherm, run, text};

/// Text on both channels, bytes that are no text, and an exit status of its own.
const SCRIPT: &str =
    r"printf 'one\n'; printf 'e\303\251\n' >&2; sleep 0.2; printf '\377\000x'; exit 7";

#[tokio::test]
async fn what_a_program_says_passes_through_and_is_kept_to_the_byte() {
    let dir = TempDir::new().unwrap();
    let dev = Dev::start(dir.path(), free_base(), &[]).await;

    let output = run(dev.isotherm(&["run", "--conversation", "c", "--", "sh", "-c", SCRIPT]));

    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout, b"one\n\xff\x00x");
    assert_eq!(text(&output.stderr), "eé\n");
    let kept = dev.get_text("c");
    assert!(kept.ends_with(b"\xff\x00x"), "{kept:?}");
    assert_eq!(kept.len(), output.stdout.len() + output.stderr.len());
    let events = text(&run(dev.isotherm(&["get", "c", "-o", "ndjson"])).stdout);
    assert!(
        events
            .lines()
            .next()
            .unwrap()
            .contains(r#""type":"run.started""#),
        "{events}"
    );
    assert!(
        events.contains(r#""metadata":{"stream":"stderr"}"#),
        "{events}"
    );
    let last = events.lines().last().unwrap();
    assert!(
        last.contains(r#""type":"run.exited""#) && last.contains(r#""exit_code":7"#),
        "{events}"
    );

    let killed = run(dev.isotherm(&["run", "--conversation", "k", "--", "sh", "-c", "kill -9 $$"]));
    assert_eq!(killed.status.code(), Some(128 + 9));
    dev.stop().await;
}

#[tokio::test]
async fn a_program_runs_on_while_ingest_is_away_and_nothing_is_lost() {
    let (dir, base) = (TempDir::new().unwrap(), free_base());
    let out = dir.path().join("out");
    let mut command = isotherm(
        base,
        &["run", "--conversation", "c", "--", "seq", "1", "20000"],
    );
    command
        .stdout(File::create(&out).unwrap())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let expected: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    eventually("all output has passed through", async || {
        fs::read_to_string(&out).unwrap() == expected
    })
    .await;
    assert!(
        child.try_wait().unwrap().is_none(),
        "it waits until everything is stored"
    );

    let dev = Dev::start(&dir.path().join("data"), base, &[]).await;

    let started = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(started.elapsed() < Duration::from_secs(20));
    let said = text(&output.stderr);
    assert!(said.contains("will try again until it is stored"), "{said}");
    assert_eq!(text(&dev.get_text("c")), expected);
    dev.stop().await;
}
