use super::{LIMIT, database::Database, run, server::Server, start};
use testkit::eventually;

/// Four kinds of bad rows among good ones.
fn damaged() -> Database {
    let database = Database::new(700);
    database.insert("late", "a", "x", "2999-01-01 00:00:00");
    database.insert("", "a", "x", "2026-01-01 00:00:00");
    database.grow(1500);
    database.insert("homeless", "a b", "x", "2026-01-01 00:00:00");
    database.insert("soon", "b", "x", "soon");
    database.insert("sooner", "b", "x", "sooner");
    database
}

#[tokio::test]
async fn bad_rows_are_left_out_counted_and_not_missed_at_the_end() {
    let (database, server) = (damaged(), Server::start());
    let (code, _, stderr) = run(&server, "sqlite", &[database.path()]).await;
    assert_eq!(code, 1);
    assert!(
        stderr.contains(r#"row "late" (rowid 701)"#) && stderr.contains("--skip-bad"),
        "{stderr}"
    );

    let (code, stdout, stderr) = run(&server, "sqlite", &[database.path(), "--skip-bad"]).await;

    assert_eq!(code, 0, "{stdout}{stderr}");
    for (code, rows, rowid) in [
        ("invalid_conversation_id", 1, 2203),
        ("invalid_timestamp", 2, 2204),
        ("missing_id", 1, 702),
        ("timestamp_in_future", 1, 701),
    ] {
        let line = format!(
            r#"{{"bad":"{code}","rows":{rows},"first":"{}: rowid {rowid}"}}"#,
            database.path()
        );
        assert!(stdout.contains(&line), "{line}: {stdout}");
    }
    assert_eq!(stdout.matches(r#""ok":"yes""#).count(), 3, "{stdout}");
    let (code, stdout, stderr) = run(&server, "sqlite", &[database.path()]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stderr.contains("nothing was sent"), "{stderr}");
}

#[tokio::test]
async fn an_import_that_leaves_rows_out_resumes_as_if_it_had_never_stopped() {
    let (database, server) = (damaged(), Server::start());
    let args = [database.path(), "--skip-bad"];
    server.answer_until(1);
    let import = start(&server, "sqlite", &args);
    eventually("a batch without an answer", async || server.requests() >= 2).await;
    import.kill().await;
    server.answer_until(usize::MAX);
    let mut import = start(&server, "sqlite", &args);
    assert_eq!(import.wait(LIMIT).await.code(), Some(0));

    let (other, at_once) = (tempfile::tempdir().unwrap(), Server::start());
    let other = other.path().join("checkpoint");
    let args = [&args[..], &["--checkpoint", other.to_str().unwrap()]].concat();
    assert_eq!(run(&at_once, "sqlite", &args).await.0, 0);
    assert_eq!(server.ids(), at_once.ids());
}

#[tokio::test]
async fn rows_that_ingest_refuses_are_left_out_too_and_not_missed_at_the_end() {
    let (database, server) = (Database::new(702), Server::start());
    database.insert("worst", "a", "REFUSE", "2026-01-01 00:00:07.030");
    database.grow(700);
    let (code, _, stderr) = run(&server, "sqlite", &[database.path()]).await;
    assert_eq!(code, 1);
    assert!(
        stderr.contains("refused: because it says so") && stderr.contains("--skip-bad"),
        "{stderr}"
    );

    let (code, stdout, stderr) = run(&server, "sqlite", &[database.path(), "--skip-bad"]).await;

    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains(r#"{"bad":"refused","rows":"#), "{stdout}");
    assert_eq!(stdout.matches(r#""ok":"yes""#).count(), 3, "{stdout}");
    server.lose_one();
    let args = [database.path(), "--verify-within", "1s"];
    let (code, stdout, _) = run(&server, "sqlite", &args).await;
    assert_eq!(code, 1);
    assert_eq!(stdout.matches(r#""ok":"NO""#).count(), 1, "{stdout}");
}
