//! Requests that are dear to answer, beside a client that is not: no process ends, none takes more memory
//! than its container may have, and the honest client is answered.
//!
//! `cargo xtask test -- attacks --nocapture` prints how long its requests took beside each attack.

mod kinds;

use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::world::{SERVICES, Setup, World, keep_all};

/// Limits of the containers in the chart's default values, in MiB; a statement's process has its own.
const MEMORY_LIMITS_MIB: [(&str, u64); 5] = [
    ("ingest", 512),
    ("hot-writer", 512),
    ("compactor", 3072),
    ("executor", 256),
    ("query", 2048),
];
/// The arguments that the chart's default values give to query and to the executor.
const QUERY_ARGS: [&str; 4] = [
    "--memory-bytes",
    "2147483648",
    "--sql-memory-bytes",
    "536870912",
];
const EXECUTOR_ARGS: [&str; 4] = ["--memory-bytes", "536870912", "--processes", "3"];
/// Pause between two rounds of the honest client.
const HONEST_PAUSE: Duration = Duration::from_millis(100);
/// Longest time of an honest request; only hangs take so long, also on a busy machine and in a debug build.
const HONEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest that each kind of honest request took.
#[derive(Debug, Default)]
struct Honest {
    append: Duration,
    page: Duration,
    sql: Duration,
    rounds: u64,
}

/// Appends, reads what it appended and counts it, until `over`; panics when an answer is wrong or late.
async fn honest(world: &World, conversation: &str, over: &AtomicBool) -> Honest {
    let mut slowest = Honest::default();
    loop {
        let n = slowest.rounds;
        let event =
            json!({"type": "t", "event_id": n.to_string(), "content": format!("honest {n}")});
        let append = world.ingest(&format!("/v1/conversations/{conversation}/events"));
        let append = world.http.post(append).json(&event);
        slowest.append = slowest.append.max(timed("append", append).await.1);
        let page = world.query(&format!("/v1/conversations/{conversation}/events?limit=10"));
        let (page, took) = timed("page", world.http.get(page)).await;
        let newest = page["events"][0]["content"].as_str();
        assert_eq!(newest, Some(format!("honest {n}").as_str()), "{page}");
        slowest.page = slowest.page.max(took);
        let count = format!("SELECT count(*) FROM events WHERE conversation_id = '{conversation}'");
        let (rows, took) = timed("sql", world.http.post(world.query("/v1/sql")).body(count)).await;
        assert_eq!(rows["rows"], json!([[n + 1]]), "{rows}");
        slowest.sql = slowest.sql.max(took);
        slowest.rounds += 1;
        if over.load(Ordering::Relaxed) {
            return slowest;
        }
        tokio::time::sleep(HONEST_PAUSE).await;
    }
}

async fn timed(what: &str, request: reqwest::RequestBuilder) -> (Value, Duration) {
    let began = Instant::now();
    let answer = request.timeout(HONEST_TIMEOUT).send().await;
    let answer = answer.unwrap_or_else(|error| panic!("honest {what}: {error:?}"));
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "honest {what}: {status} {text}");
    (serde_json::from_str(&text).unwrap(), began.elapsed())
}

/// The most memory that a process had, in MiB.
fn peak_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() / 1024
}

fn pids(world: &mut World) -> BTreeMap<&'static str, u32> {
    SERVICES
        .into_iter()
        .map(|name| (name, world.service(name).pid()))
        .collect()
}

fn assert_all_live_within_their_memory(
    world: &mut World,
    pids: &BTreeMap<&str, u32>,
    attack: &str,
) {
    for (name, limit) in MEMORY_LIMITS_MIB {
        let service = world.service(name);
        assert!(
            service.ended().is_none(),
            "{attack} ended {name}: {}",
            service.stderr()
        );
        let peak = peak_mib(pids[name]);
        assert!(peak < limit, "{attack}: {name} took {peak} MiB of {limit}");
    }
}

#[allow(clippy::print_stderr, reason = "the report of the drill")]
#[tokio::test(flavor = "multi_thread")]
async fn no_request_takes_a_process_down_or_keeps_an_honest_client_waiting() {
    let setup = Setup {
        query_args: QUERY_ARGS.map(String::from).to_vec(),
        executor_args: EXECUTOR_ARGS.map(String::from).to_vec(),
        ..Setup::default()
    };
    let mut world = World::start_with(setup).await;
    world.set_policy(3_600_000, 3_600_000, keep_all()).await;
    kinds::prepare(&world).await;
    let pids = pids(&mut world);
    eprintln!("attack{:>22}{:>8}{:>8}  peak MiB", "append", "page", "sql");
    for (index, attack) in kinds::ALL.into_iter().enumerate() {
        let over = AtomicBool::new(false);
        let conversation = format!("honest-{index}");
        let run = async {
            kinds::run(attack, &world).await;
            over.store(true, Ordering::Relaxed);
        };
        let ((), slowest) = tokio::join!(run, honest(&world, &conversation, &over));
        let peaks = pids
            .iter()
            .map(|(name, pid)| format!("{name} {}", peak_mib(*pid)));
        eprintln!(
            "{:<20}{:>8.3}{:>8.3}{:>8.3}  {}",
            format!("{attack:?}"),
            slowest.append.as_secs_f64(),
            slowest.page.as_secs_f64(),
            slowest.sql.as_secs_f64(),
            peaks.collect::<Vec<_>>().join(", "),
        );
        assert_all_live_within_their_memory(&mut world, &pids, &format!("{attack:?}"));
    }
    let files = kinds::archived_files(&world).await;
    assert!(files < 40, "18,000 event days became {files} files");
}
