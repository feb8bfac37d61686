//! Whose process runs a statement, and how long it lives.

use std::time::Duration;

use event::PartitionId;
use futures::TryStreamExt as _;
use testkit::eventually;
use warm_tier::sql::{
    SliceRef, SqlError, Table,
    remote::{ExecutorError, PartitionPlan, TablePlan},
};

use crate::world::{PROCESSES, World, execution};

/// It ends only when it is ended.
const ENDLESS: &str = "SELECT count(*) FROM range(100000) a, range(100000) b, range(100000) c";
/// 40 MB of answer.
const LARGE: &str = "SELECT repeat('x', 1000) AS text FROM range(40000)";

#[tokio::test]
async fn statements_of_one_tenant_share_a_process_one_after_the_other() {
    let world = World::start().await;
    let first = world.processes();
    assert_eq!(first.len(), 1);
    for _ in 0..5 {
        assert!(
            world
                .answer("a", "SELECT 1 AS one")
                .await
                .unwrap()
                .contains("\"one\":1")
        );
        assert_eq!(world.processes(), first);
    }
}

#[tokio::test]
async fn no_tenant_gets_the_process_of_another() {
    let world = World::start().await;
    let of_a = world.processes();
    world.answer("b", "SELECT 1").await.unwrap();
    let of_both = world.processes();
    assert_eq!(of_both.len(), 2);
    // Those of the others are ended for it when there is no room for another one.
    for tenant in ["c", "d"] {
        world.answer(tenant, "SELECT 1").await.unwrap();
    }
    let of_three = world.processes();
    assert_eq!(of_three.len(), PROCESSES);
    assert!(!of_three.contains(&of_a[0]), "{of_three:?}");
}

#[tokio::test]
async fn a_process_is_replaced_after_many_statements() {
    let world = World::start().await;
    let first = world.processes();
    for _ in 0..64 {
        world.answer("a", "SELECT 1").await.unwrap();
    }
    assert_ne!(world.processes(), first);
}

#[tokio::test]
async fn a_statement_that_fails_takes_its_process_with_it() {
    let world = World::start().await;
    let first = world.processes();
    let refused = world.answer("a", "SELECT read_text('/etc/passwd')").await;
    let is_refused = matches!(refused, Err(ExecutorError::Sql(SqlError::Invalid(_))));
    assert!(is_refused, "{refused:?}");
    world.answer("a", "SELECT 1").await.unwrap();
    assert_ne!(world.processes(), first);
}

#[tokio::test]
async fn a_statement_ends_with_its_client_and_leaves_its_place() {
    let world = World::start().await;
    let endless = execution("a", ENDLESS);
    let moment = Duration::from_millis(500);
    let running = (0..PROCESSES).map(|_| tokio::time::timeout(moment, world.run(&endless)));
    for run in futures::future::join_all(running).await {
        assert!(run.is_err(), "it ended");
    }
    assert!(world.answer("a", "SELECT 1").await.is_ok());
}

#[tokio::test]
async fn a_statement_ends_at_its_timeout() {
    let world = World::start().await;
    let mut endless = execution("a", ENDLESS);
    endless.limits.timeout = Duration::from_millis(300);
    let ended = world.run(&endless).await.err();
    let is_timeout = matches!(ended, Some(ExecutorError::Sql(SqlError::Timeout(_))));
    assert!(is_timeout, "{ended:?}");
}

#[tokio::test]
async fn answers_that_nobody_reads_hold_up_no_other_statement() {
    let world = World::start().await;
    let large = execution("a", LARGE);
    let mut unread = Vec::new();
    for _ in 1..PROCESSES {
        unread.push(Box::pin(world.run(&large).await.unwrap()));
    }
    assert!(world.answer("a", "SELECT 1").await.is_ok());
    for answer in unread {
        let chunks: Vec<_> = answer.try_collect().await.unwrap();
        let bytes: usize = chunks.iter().map(bytes::Bytes::len).sum();
        assert!(bytes > 40_000_000, "{bytes}");
    }
}

#[tokio::test]
async fn a_slice_that_is_not_there_is_to_be_planned_again() {
    let world = World::start().await;
    let mut gone = execution("a", "SELECT count(*) FROM events");
    gone.tables = vec![TablePlan {
        table: Table::Events,
        columns: vec!["type".to_owned()],
        partitions: vec![PartitionPlan {
            partition: PartitionId::first(0),
            slices: vec![SliceRef {
                lo: 1,
                hi: 10,
                class: "w1000-cforever".parse().unwrap(),
                ranges: Vec::new(),
            }],
            scan: None,
        }],
    }];
    let answer = world.run(&gone).await.err();
    let is_stale = matches!(answer, Some(ExecutorError::Sql(SqlError::Stale)));
    assert!(is_stale, "{answer:?}");
}

#[tokio::test]
async fn the_processes_end_with_the_executor() {
    let world = World::start().await;
    let process = world.processes()[0];
    world.service.kill().await;
    eventually("its process has ended", async || {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
    })
    .await;
}
