use std::{io::Write as _, path::Path, time::Duration};

use testkit::{Service, eventually};

mod database;
mod lines;
pub(crate) mod server;
mod skip;
mod wal;

use database::{Damage, Database};
use server::Server;

const LIMIT: Duration = Duration::from_secs(60);

fn start(server: &Server, kind: &str, args: &[&str]) -> Service {
    let url = server.url();
    let mut all = vec![
        "-o",
        "ndjson",
        "--url",
        &url,
        "--ingest-url",
        &url,
        "import",
        kind,
    ];
    all.extend(args);
    Service::start(env!("CARGO_BIN_EXE_isotherm"), all)
}

/// Runs to its end: the exit status, stdout, stderr.
async fn run(server: &Server, kind: &str, args: &[&str]) -> (i32, String, String) {
    let mut service = start(server, kind, args);
    let status = service.wait(LIMIT).await;
    (status.code().unwrap(), service.stdout(), service.stderr())
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn an_import_killed_again_and_again_loses_and_repeats_nothing() {
    let database = Database::new(9000);
    let server = Server::start();
    for batches in [0, 1, 1, 2] {
        let until = server.requests() + batches + 1;
        // The last batch is stored, but its acknowledgement never arrives.
        server.answer_until(until - 1);
        let import = start(&server, "sqlite", &[database.path()]);
        eventually("a batch without an answer", async || {
            server.requests() >= until
        })
        .await;
        import.kill().await;
    }
    server.answer_until(usize::MAX);

    let (code, stdout, stderr) = run(&server, "sqlite", &[database.path()]).await;

    assert_eq!(code, 0, "{stderr}");
    assert!(
        server.requests() > 7,
        "the import is too small to be interrupted"
    );
    assert_eq!(stdout.matches(r#""ok":"yes""#).count(), 3, "{stdout}");
    assert_eq!(server.joined(), database.joined());
    let at_once = Server::start();
    let other = tempfile::NamedTempFile::new().unwrap();
    std::fs::remove_file(other.path()).unwrap();
    let args = [database.path(), "--checkpoint", path(other.path())];
    let (code, _, stderr) = run(&at_once, "sqlite", &args).await;
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(server.ids(), at_once.ids());
}

#[tokio::test]
async fn a_finished_import_sends_nothing_and_one_that_has_grown_the_rest() {
    let database = Database::new(700);
    let server = Server::start();
    assert_eq!(run(&server, "sqlite", &[database.path()]).await.0, 0);
    let requests = server.requests();

    let (code, _, stderr) = run(&server, "sqlite", &[database.path()]).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("nothing was sent"), "{stderr}");
    assert_eq!(server.requests(), requests);

    database.grow(300);
    let (code, stdout, stderr) = run(&server, "sqlite", &[database.path()]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert_eq!(server.requests(), requests + 1);
    assert_eq!(server.joined(), database.joined());
}

#[tokio::test]
async fn what_is_lost_after_an_import_is_seen() {
    let database = Database::new(700);
    let server = Server::start();
    assert_eq!(run(&server, "sqlite", &[database.path()]).await.0, 0);
    server.lose_one();

    let args = [database.path(), "--verify-within", "1s"];
    let (code, stdout, stderr) = run(&server, "sqlite", &args).await;

    assert_eq!(code, 1);
    assert_eq!(stdout.matches(r#""ok":"NO""#).count(), 1, "{stdout}");
    assert!(stderr.contains("1 of 3 conversations differ"), "{stderr}");
}

#[tokio::test]
async fn bad_rows_and_foreign_checkpoints_are_named() {
    let server = Server::start();
    let (one, two) = (Database::new(10), Database::new(11));
    assert_eq!(run(&server, "sqlite", &[one.path()]).await.0, 0);
    let foreign = format!("{}.isotherm-import.json", one.path());
    let args = [two.path(), "--checkpoint", &foreign];
    let (code, _, stderr) = run(&server, "sqlite", &args).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("belongs to another file"), "{stderr}");

    two.insert("late", "a", "x", "2999-01-01 00:00:00");
    let (code, _, stderr) = run(&server, "sqlite", &[two.path()]).await;
    assert_eq!(code, 1);
    assert!(
        stderr.contains(r#"row "late""#) && stderr.contains("in the future"),
        "{stderr}"
    );
}

#[tokio::test]
async fn lines_are_sent_once_and_bad_ones_are_named_or_counted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("runs.ndjson");
    let line = |n: usize| format!("{{\"content\":\"line {n}\"}}\n");
    let mut lines: Vec<String> = (1..=1200).map(line).collect();
    lines[699] = "{\"content\":\"line 700\",\"refuse\":true}\n".to_owned();
    lines[899] = "nonsense\n".to_owned();
    std::fs::write(&file, lines.concat()).unwrap();
    let server = Server::start();
    let args = [path(&file), "--conversation", "old", "--type", "log.line"];

    let (code, _, stderr) = run(&server, "jsonl", &args).await;
    assert_eq!(code, 1);
    assert!(
        stderr.contains("runs.ndjson:900: invalid_json: "),
        "{stderr}"
    );
    lines[899] = line(900);
    std::fs::write(&file, lines.concat()).unwrap();
    let (code, _, stderr) = run(&server, "jsonl", &args).await;
    assert_eq!(code, 1);
    assert!(
        stderr.contains("runs.ndjson:700: refused: because it says so"),
        "{stderr}"
    );
    assert_eq!(server.ids().len(), 500);

    let (code, stdout, stderr) =
        run(&server, "jsonl", &[&args[..], &["--skip-bad"]].concat()).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains(r#"{"bad":"refused","lines":1,"first":""#),
        "{stdout}"
    );
    assert!(stdout.contains(r#""events":1199,"found":1199"#), "{stdout}");
    assert_eq!(server.ids().len(), 1199);
    let (code, _, stderr) = run(&server, "jsonl", &args).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("nothing was sent"), "{stderr}");

    lines[0] = line(2);
    std::fs::write(&file, lines.concat()).unwrap();
    let (code, _, stderr) = run(&server, "jsonl", &args).await;
    assert_eq!(code, 1);
    assert!(
        stderr.contains("does not begin with the lines that were imported"),
        "{stderr}"
    );
}

#[tokio::test]
async fn each_store_gets_the_whole_file_and_each_only_once() {
    let database = Database::new(700);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("runs.ndjson");
    let line = |n: usize| format!("{{\"content\":\"line {n}\"}}\n");
    std::fs::write(&file, (1..=30).map(line).collect::<String>()).unwrap();
    let lines = [path(&file), "--conversation", "old", "--type", "log.line"];
    let (here, there) = (Server::start(), Server::start());
    for server in [&here, &there, &here, &there] {
        for (kind, args) in [("sqlite", &[database.path()][..]), ("jsonl", &lines)] {
            let (code, _, stderr) = run(server, kind, args).await;
            assert_eq!(code, 0, "{stderr}");
        }
    }
    assert_eq!(here.ids(), there.ids());
    assert_eq!(here.requests(), there.requests());
    let (_, _, stderr) = run(&there, "sqlite", &[database.path()]).await;
    assert!(stderr.contains("nothing was sent"), "{stderr}");
}

#[tokio::test]
async fn an_import_that_could_not_be_read_back_is_refused_before_anything_is_sent() {
    let database = Database::new(10);
    let (here, there) = (Server::start(), Server::start());
    let (query, ingest) = (there.url(), here.url());
    let args = |more: &[&'static str]| {
        let head = ["--url", &query, "--ingest-url", &ingest, "import", "sqlite"];
        let all = head.into_iter().chain([database.path()]);
        let all = all.chain(more.iter().copied()).map(str::to_owned);
        all.collect::<Vec<_>>()
    };
    let mut import = Service::start(env!("CARGO_BIN_EXE_isotherm"), args(&[]));
    assert_eq!(import.wait(LIMIT).await.code(), Some(1));
    let stderr = import.stderr();
    assert!(
        stderr.contains("another store") && stderr.contains("--no-verify"),
        "{stderr}"
    );
    assert_eq!(here.requests(), 0);
    let mut import = Service::start(env!("CARGO_BIN_EXE_isotherm"), args(&["--no-verify"]));
    assert_eq!(
        import.wait(LIMIT).await.code(),
        Some(0),
        "{}",
        import.stderr()
    );
    assert_eq!(here.requests(), 1);
}

#[tokio::test]
async fn a_database_with_damaged_pages_is_refused_before_anything_is_sent() {
    let server = Server::start();
    for damage in [Damage::ZeroedPage, Damage::CutOff] {
        let database = Database::new(9000);
        database.damage(damage);
        let (code, stdout, stderr) = run(&server, "sqlite", &[database.path()]).await;
        assert_eq!(code, 1, "{damage:?}: {stdout}");
        assert!(stderr.contains("is damaged"), "{damage:?}: {stderr}");
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn an_empty_table_is_no_success() {
    let (database, server) = (Database::new(0), Server::start());
    let (code, _, stderr) = run(&server, "sqlite", &[database.path()]).await;
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("has no rows"), "{stderr}");
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_database_that_loses_rows_under_the_import_is_no_success() {
    let database = Database::new(9000);
    let server = Server::start();
    server.answer_until(0);
    let mut import = start(&server, "sqlite", &[database.path(), "--no-verify"]);
    eventually("the first batch", async || server.requests() == 1).await;
    database.shorten(5000);
    server.answer_until(usize::MAX);
    assert_eq!(import.wait(LIMIT).await.code(), Some(1));
    assert!(import.stderr().contains("rows of"), "{}", import.stderr());

    let (code, _, stderr) = run(&server, "sqlite", &[database.path(), "--no-verify"]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("are gone"), "{stderr}");
}

#[tokio::test]
async fn packed_lines_that_are_cut_off_are_no_success_until_they_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("runs.ndjson.gz");
    let line = |n: usize| format!("{{\"content\":\"line {n}\",\"n\":{}}}\n", n * n % 7919);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let text: String = (1..=1200).map(line).collect();
    gzip.write_all(text.as_bytes()).unwrap();
    let whole = gzip.finish().unwrap();
    let server = Server::start();
    let args = [path(&file), "--conversation", "old", "--type", "log.line"];
    for cut in [whole.len() - 1, whole.len() - 9, whole.len() / 2, 11] {
        std::fs::write(&file, &whole[..cut]).unwrap();
        let (code, _, stderr) = run(&server, "jsonl", &args).await;
        assert_eq!(code, 1, "cut at {cut} of {}", whole.len());
        assert!(stderr.contains("is cut off or damaged"), "{cut}: {stderr}");
    }
    std::fs::write(&file, &whole).unwrap();
    let (code, stdout, stderr) = run(&server, "jsonl", &args).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains(r#""events":1200,"found":1200"#), "{stdout}");
}
