use super::{database::Database, path, run, server::Server};

#[tokio::test]
async fn a_closed_wal_database_is_read_where_nothing_can_be_written() {
    let (database, server) = (Database::new(700), Server::start());
    let dir = tempfile::tempdir().unwrap();
    let (copy, checkpoint) = (dir.path().join("legacy.db"), dir.path().join("checkpoint"));
    database.copy_as_wal(&copy);
    // As on read-only media, SQLite cannot create the file that it wants.
    std::fs::create_dir(dir.path().join("legacy.db-wal")).unwrap();
    let args = [path(&copy), "--checkpoint", path(&checkpoint)];
    let (code, _, stderr) = run(&server, "sqlite", &args).await;
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(server.joined(), database.joined());
}
