//! What the process of a statement cannot do.

use std::process::Command;

use serde_json::{Map, Value};
use testkit::eventually;

use crate::world::World;

/// The locks that are on with `locks`, and the attempts with the errors that refused them.
fn report(locks: &[&str]) -> (Map<String, Value>, Map<String, Value>) {
    let mut check = Command::new(env!("CARGO_BIN_EXE_query"));
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

#[test]
fn the_process_of_a_statement_reaches_nothing_outside_it() {
    let (locks, attempts) = report(&[]);
    assert_eq!(locks.len(), 3);
    assert!(locks.values().all(Value::is_null), "{locks:?}");
    assert_eq!(attempts.len(), 9);
    let refused = |error: &Value| error == "EPERM";
    assert!(attempts.values().all(refused), "{attempts:?}");
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
    assert!(
        attempts.values().all(|error| error == "EPERM"),
        "{attempts:?}"
    );
    let (_, attempts) = report(&["landlock"]);
    for attempt in FILES {
        assert_eq!(attempts[attempt], "EACCES", "{attempts:?}");
    }
    let (_, attempts) = report(&["rlimits"]);
    for attempt in FILES.iter().chain(&["listen", "open a socket"]) {
        assert_eq!(attempts[*attempt], "EMFILE", "{attempts:?}");
    }
}

#[tokio::test]
async fn the_service_says_which_locks_hold_and_answers_behind_them() {
    let world = World::start().await;
    let metrics = world.metrics().await;
    for lock in ["rlimits", "landlock", "seccomp"] {
        let holds = format!("isotherm_query_statement_locks{{lock=\"{lock}\"}} 1");
        assert!(metrics.contains(&holds), "{metrics}");
    }
    let http = world.http.post(format!("{}/v1/sql", world.url));
    let endless = "SELECT count(*) FROM range(1000000000000) a, range(1000) b";
    let asked = tokio::spawn(http.body(endless).send());
    let service = world.query.pid();
    eventually("its process is locked", async || {
        crate::hogs::children(service).iter().any(|child| {
            let status = std::fs::read_to_string(format!("/proc/{child}/status"));
            let limits = std::fs::read_to_string(format!("/proc/{child}/limits"));
            status.is_ok_and(|status| {
                status.contains("\nSeccomp:\t2\n") && status.contains("\nNoNewPrivs:\t1\n")
            }) && limits.is_ok_and(|limits| limits.contains("Max open files            3   "))
        })
    })
    .await;
    asked.abort();
}
