//! Statements that the sandbox refuses.

use super::*;

#[test]
fn every_statement_but_a_single_select_over_the_tables_is_refused() {
    for sql in [
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE events_rows",
        "INSERT INTO events_rows SELECT * FROM events_rows",
        "UPDATE events_rows SET seq = 1",
        "DELETE FROM events_rows",
        "CREATE TABLE x (a INT)",
        "CREATE OR REPLACE VIEW events AS SELECT 1",
        "DROP VIEW events",
        "PRAGMA database_list",
        "SET memory_limit = '10GB'",
        "RESET lock_configuration",
        "ATTACH '/tmp/x.db'",
        "DETACH memory",
        "COPY events TO '/tmp/x.csv'",
        "COPY (SELECT 1) TO '/tmp/x.parquet'",
        "EXPORT DATABASE '/tmp/x'",
        "INSTALL httpfs",
        "LOAD '/tmp/x.duckdb_extension'",
        "CALL pragma_version()",
        "CHECKPOINT",
        "VACUUM",
        "BEGIN",
        "EXPLAIN ANALYZE SELECT 1",
        "PREPARE p AS SELECT 1",
        "SHOW TABLES",
        "SHOW ALL TABLES",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_blob('/etc/hostname')",
        "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
        "SELECT * FROM read_json('http://127.0.0.1:80/')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM parquet_metadata('/x')",
        "SELECT * FROM query('DROP VIEW events')",
        "SELECT * FROM query_table('events_rows')",
        "SELECT * FROM json_execute_serialized_sql('{}')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM pragma_table_info('events_rows')",
        "SELECT * FROM isotherm_rows(1)",
        "SELECT * FROM isotherm_rows(2)",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM 'x.csv'",
        "SELECT * FROM events_rows",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM pg_catalog.pg_tables",
        "SELECT * FROM other.main.events",
        "SELECT (SELECT content FROM read_text('/etc/hostname'))",
        "WITH x AS (SELECT * FROM read_text('/etc/hostname')) SELECT * FROM x",
        // A common table expression is one only where it can be seen.
        "WITH x AS (WITH events_rows AS (SELECT 1) FROM events_rows) SELECT * FROM events_rows",
        "WITH x AS (FROM events_rows), events_rows AS (SELECT 1) FROM x",
        "WITH RECURSIVE x AS (FROM events_rows), events_rows AS (SELECT 1) FROM x",
        "WITH events_rows AS (FROM events_rows) SELECT * FROM events_rows",
        "WITH RECURSIVE events_rows AS (FROM events_rows UNION ALL SELECT 1) FROM events_rows",
        "WITH events_rows AS (SELECT 1) SELECT * FROM main.events_rows",
        "SELECT (WITH \"/etc/passwd\" AS (SELECT 1) FROM \"/etc/passwd\") FROM '/etc/passwd'",
        "(WITH x AS (SELECT 1) FROM x) UNION ALL FROM x",
        "SELECT * FROM (WITH x AS (SELECT 1) FROM x) y, x",
        "WITH x AS (INSERT INTO events_rows VALUES (1) RETURNING *) SELECT * FROM x",
        "SELECT 1 WHERE EXISTS (FROM glob('*'))",
        "SELECT getenv('HOME')",
    ] {
        let error = parse(sql).unwrap_err();
        assert!(
            matches!(error, SqlError::NotAllowed(_) | SqlError::Invalid(_)),
            "{sql}: {error:?}"
        );
        let sentence = error.to_string();
        assert!(sentence.len() > 10, "{sql}: {sentence}");
    }
}

#[test]
fn writes_and_files_are_refused_as_not_allowed() {
    for sql in [
        "INSERT INTO events_rows VALUES (1)",
        "COPY events TO '/tmp/x.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT 1; SELECT 2",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
    ] {
        let error = parse(sql).unwrap_err();
        assert!(matches!(error, SqlError::NotAllowed(_)), "{sql}: {error:?}");
    }
}

/// The second barrier by itself: it must hold when the check of the parsed statement has a gap.
#[test]
fn the_instance_itself_reaches_no_file_and_takes_no_setting() {
    let slices = tempfile::tempdir().unwrap();
    for sql in [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "FROM read_csv('/etc/passwd')",
    ] {
        let select = Select {
            sql: sql.into(),
            tables: BTreeSet::new(),
            columns: Columns::All,
            pushdown: Pushdown::default(),
        };
        for folder in [None, Some(slices.path())] {
            let mut sandbox = Sandbox::open(limits().memory_bytes, 1, folder).unwrap();
            let session = sandbox.begin(limits(), []).unwrap();
            let error = session.run(&select, "arrow", &encode).unwrap_err();
            assert!(
                matches!(error, SqlError::NotAllowed(_) | SqlError::Invalid(_)),
                "{sql}: {error:?}"
            );
        }
    }
}

#[test]
fn statements_that_make_no_sense_are_invalid() {
    for sql in [
        "",
        ";",
        "SELECT",
        "SELEC 1",
        "SELECT nope FROM events",
        "SELECT 'a'::INT",
        "\0",
    ] {
        let error = run(sql).unwrap_err();
        assert!(matches!(error, SqlError::Invalid(_)), "{sql}: {error:?}");
    }
    let deep = format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(matches!(
        run(&deep),
        Err(SqlError::Invalid(_) | SqlError::NotAllowed(_))
    ));
    let deep = format!("SELECT 1{}", " + 1".repeat(1100));
    let error = run(&deep).unwrap_err().to_string();
    assert!(
        error.contains("nested too deeply") && !error.contains("SET"),
        "{error}"
    );
    let deep = format!("SELECT 1{}", " + 1".repeat(900));
    assert!(matches!(
        run(&deep),
        Err(SqlError::Invalid(_) | SqlError::NotAllowed(_))
    ));
}
