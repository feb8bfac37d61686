//! Statements that take all they can get.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::eventually;

use crate::{sql::cell, world::World};

/// What `--sql-timeout 2s` is.
const LIMIT: Duration = Duration::from_secs(2);

/// Each level makes what it is given ten times as long, in one call.
fn bomb(levels: usize) -> String {
    let open = "regexp_replace(".repeat(levels);
    let close = ", '.', 'xxxxxxxxxx', 'g')".repeat(levels);
    format!("SELECT length({open}'xxxxxxxxxx'{close})")
}

#[tokio::test]
async fn values_beyond_all_memory_end_their_statement_and_not_the_service() {
    let memory = [
        "--memory-bytes",
        "1000000000",
        "--sql-memory-bytes",
        "100000000",
        "--sql-timeout",
        "3s",
    ];
    let world = World::start_with(&memory).await;
    let (from, to) = ("a".repeat(20_000), "b".repeat(20_000));
    for hog in [
        // Made by one call, which nothing can interrupt and DuckDB does not count.
        "SELECT sum(length(printf('%400000000d', i))) FROM range(40) t(i)".to_owned(),
        format!("SELECT length(replace(replace('{from}', 'a', '{to}'), 'b', 'cc'))"),
        format!("SELECT sum(length(replace('{from}', 'a', '{to}' || i))) FROM range(99) t(i)"),
        "SELECT length(repeat('x', 4000000000))".to_owned(),
        "SELECT length(lpad('x', 2000000000, 'y') || rpad('x', 2000000000, 'y'))".to_owned(),
        "SELECT len(range(1000000000)) + len(list_resize([1], 2000000000))".to_owned(),
    ] {
        let (status, answer) = world.sql(hog.clone()).await;
        assert_eq!(status, 422, "{hog}: {answer}");
        assert!(world.is_ready().await, "{hog}");
    }
    assert_eq!(cell(&world.sql("SELECT 42").await), 42);
}

#[tokio::test]
async fn a_statement_may_take_more_memory_than_the_service_itself() {
    let world = World::start_with(&["--memory-bytes", "600000000"]).await;
    let statement = "SELECT length(repeat('x', 1000000000))";
    assert_eq!(cell(&world.sql(statement).await), 1_000_000_000);
}

#[tokio::test]
async fn a_call_that_nothing_interrupts_ends_at_its_limit_and_leaves_its_place() {
    let world = World::start_with(&["--sql-timeout", "2s", "--sql-at-once", "2"]).await;
    let _compactor = world.compactor(&[]);
    world.publish(0..30, 3).await;
    world.until("warm", "committed").await;
    for _ in 0..2 {
        let began = Instant::now();
        let (one, two, three) =
            tokio::join!(world.sql(bomb(7)), world.sql(bomb(7)), world.sql(bomb(7)));
        // Each by itself would take minutes.
        assert!(began.elapsed() < 10 * LIMIT, "{began:?}");
        let codes = [one, two, three].map(|(_, problem)| problem["code"].clone());
        let of = |code: &str| codes.iter().filter(|found| **found == code).count();
        // The third waits for a place as long as it may run.
        assert!(of("sql_timeout") >= 2, "{codes:?}");
        assert_eq!(
            of("sql_timeout") + of("too_many_statements"),
            3,
            "{codes:?}"
        );
        assert_eq!(cell(&world.sql("SELECT count(*) FROM events").await), 30);
    }
}

#[tokio::test]
async fn a_long_statement_outlives_the_threads_that_are_idle_meanwhile() {
    let world = World::start_with(&["--sql-timeout", "16s", "--sql-at-once", "4"]).await;
    // Leaves some threads without work, which take the parts of the next statement in turn.
    let short = (0..4).map(|_| world.sql("SELECT 42"));
    for answer in futures::future::join_all(short).await {
        assert_eq!(cell(&answer), 42);
    }
    let long = "SELECT count(*) FROM range(1000000000000) a, range(1000) b";
    let (_, problem) = world.sql(long).await;
    assert_eq!(problem["code"], "sql_timeout", "{problem}");
}

#[tokio::test]
async fn a_statement_whose_client_left_gives_its_place_to_the_next() {
    let world = World::start_with(&["--sql-at-once", "1"]).await;
    let gone = tokio::time::timeout(Duration::from_secs(1), world.sql(bomb(9))).await;
    assert!(gone.is_err(), "{gone:?}");
    assert_eq!(cell(&world.sql("SELECT 42").await), json!(42));
    eventually(
        "only the process of the other one waits for more",
        async || children(world.executor.pid()).len() == 1,
    )
    .await;
}

#[tokio::test]
async fn a_statement_that_arrives_byte_by_byte_is_refused_in_time() {
    let world = World::start().await;
    let bytes = futures::stream::unfold((), async |()| {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((Ok::<_, std::io::Error>(" "), ()))
    });
    let asked_at = Instant::now();
    let request = world.http.post(format!("{}/v1/sql", world.url));
    let request = request.body(reqwest::Body::wrap_stream(bytes)).send();
    let answer = tokio::time::timeout(Duration::from_secs(20), request).await;
    let answer = answer.expect("it is not awaited for ever").unwrap();
    assert_eq!(answer.status(), 408);
    assert!(asked_at.elapsed() >= Duration::from_secs(10));
}

#[tokio::test]
async fn a_statement_ends_with_its_service() {
    let world = World::start().await;
    let pid = world.executor.pid();
    let (url, http) = (format!("{}/v1/sql", world.url), world.http.clone());
    let asked = tokio::spawn(async move { http.post(url).body(bomb(9)).send().await });
    eventually("it runs", async || children(pid).len() == 1).await;
    let statement = children(pid)[0];
    world.executor.kill().await;
    eventually("its process is gone", async || {
        let stat = std::fs::read_to_string(format!("/proc/{statement}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z"))
    })
    .await;
    assert_eq!(asked.await.unwrap().unwrap().status(), 503);
}

/// The processes that `parent` has started and that are still there.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let of_it = format!("\nPPid:\t{parent}\n");
    let processes = std::fs::read_dir("/proc").unwrap();
    let children = processes.filter_map(|entry| {
        let entry = entry.ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let pid = entry.file_name().to_string_lossy().parse().ok()?;
        status.contains(&of_it).then_some(pid)
    });
    children.collect()
}

/// The service with little memory.
async fn small_world() -> World {
    World::start_with(&["--memory-bytes", "700000000", "--sql-timeout", "120s"]).await
}

/// The most memory that the process has used so far, in bytes.
pub(crate) fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn an_answer_that_grows_as_it_is_written_ends_its_statement_and_not_the_service() {
    let world = small_world().await;
    // Each character takes six in JSON.
    let (status, answer) = world.sql("SELECT repeat(chr(1), 50000000)").await;
    assert_eq!(
        (status, &answer["code"]),
        (422, &json!("result_too_large")),
        "{answer}"
    );
    assert!(world.is_ready().await);
    assert_eq!(cell(&world.sql("SELECT 42").await), 42);
}

#[tokio::test]
async fn a_large_answer_passes_through_the_service_and_does_not_stay_in_it() {
    let world = small_world().await;
    let before = peak_memory(world.query.pid());
    let (status, answer) = world
        .sql("SELECT repeat('x', 1000000) FROM range(100)")
        .await;
    assert_eq!(status, 200);
    assert_eq!(answer["rows"].as_array().map(Vec::len), Some(100));
    assert_eq!(answer["complete"], true);
    let grown = peak_memory(world.query.pid()) - before;
    assert!(grown < 64 << 20, "{grown} bytes for an answer of 100 MB");
}

#[tokio::test]
async fn a_condition_that_is_dear_to_evaluate_costs_its_statement_and_not_the_service() {
    let world = small_world().await;
    let services = || [&world.query, &world.executor].map(|own| cpu_ticks(own.pid()));
    let own = || services().iter().map(|ticks| ticks.0).sum::<u64>();
    let before = own();
    let conditions = vec!["timestamp > now()"; 2500].join(" AND ");
    let statement = format!("SELECT 1 FROM events WHERE {conditions}");
    let (status, _) = world.sql(statement).await;
    assert!([200, 400, 422].contains(&status), "{status}");
    let own = own() - before;
    // It waits for the next statement, or was ended.
    let living = children(world.executor.pid())
        .into_iter()
        .map(|child| cpu_ticks(child).0);
    let statements = living.sum::<u64>() + services()[1].1;
    assert!(
        own < statements / 2,
        "the service took {own} ticks, its statement {statements}"
    );
}

/// The processor time of the process, and of the processes that it has started and that have ended.
fn cpu_ticks(pid: u32) -> (u64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<u64>().unwrap();
    (ticks(11) + ticks(12), ticks(13) + ticks(14))
}
