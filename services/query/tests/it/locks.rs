//! What the process of a statement cannot do.

use std::process::Command;

use serde_json::{Map, Value};
use testkit::{eventually, program};

use crate::world::World;

/// The locks that are on with `locks`, and the attempts with the errors that refused them.
fn report(locks: &[&str]) -> (Map<String, Value>, Map<String, Value>) {
    let mut check = Command::new(program("executor"));
    let output = check.arg("__statement_locks").args(locks).output().unwrap();
    let mut report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut part = |name: &str| match report[name].take() {
        Value::Object(part) => part,
        other => panic!("{name}: {other}"),
    };
    (part("locks"), part("attempts"))
}

const FILES: [&str; 5] = [
    "list a folder",
    "read a file",
    "read the service's environment",
    "start a program",
    "write a file",
];

/// What slices are read by: which files, Landlock says.
const READS: [&str; 2] = ["read a file", "read the service's environment"];

#[test]
fn the_process_of_a_statement_reaches_nothing_outside_it() {
    let (locks, attempts) = report(&[]);
    assert_eq!(locks.len(), 3);
    assert!(locks.values().all(Value::is_null), "{locks:?}");
    assert_eq!(attempts.len(), 9);
    for (attempt, error) in &attempts {
        let refused = match READS.contains(&attempt.as_str()) {
            true => "EACCES",
            false => "EPERM",
        };
        assert_eq!(error, refused, "{attempt}");
    }
}

#[test]
fn without_locks_it_would_reach_everything() {
    let (locks, attempts) = report(&["none"]);
    assert!(locks.is_empty());
    assert!(attempts.values().all(Value::is_null), "{attempts:?}");
}

#[test]
fn each_lock_holds_by_itself() {
    let (_, attempts) = report(&["seccomp"]);
    let others = attempts
        .iter()
        .filter(|(name, _)| !READS.contains(&name.as_str()));
    assert!(
        others.clone().all(|(_, error)| error == "EPERM"),
        "{attempts:?}"
    );
    let (_, attempts) = report(&["landlock"]);
    for attempt in FILES {
        assert_eq!(attempts[attempt], "EACCES", "{attempts:?}");
    }
}

#[tokio::test]
async fn the_service_says_which_locks_hold_and_answers_behind_them() {
    let world = World::start().await;
    for lock in ["rlimits", "landlock", "seccomp"] {
        let holds = format!("isotherm_executor_statement_locks{{lock=\"{lock}\"}} 1");
        // It tries them at its start, while query starts too.
        eventually(&holds, async || {
            world.executor_metrics().await.contains(&holds)
        })
        .await;
    }
    let http = world.http.post(format!("{}/v1/sql", world.url));
    let endless = "SELECT count(*) FROM range(1000000000000) a, range(1000) b";
    let asked = tokio::spawn(http.body(endless).send());
    let service = world.executor.pid();
    eventually("its process is locked", async || {
        crate::hogs::children(service).iter().any(|child| {
            let status = std::fs::read_to_string(format!("/proc/{child}/status"));
            let limits = std::fs::read_to_string(format!("/proc/{child}/limits"));
            status.is_ok_and(|status| {
                status.contains("\nSeccomp:\t2\n") && status.contains("\nNoNewPrivs:\t1\n")
            }) && limits.is_ok_and(|limits| limits.contains("Max file size             0   "))
        })
    })
    .await;
    asked.abort();
}
