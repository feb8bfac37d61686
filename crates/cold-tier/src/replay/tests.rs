use super::{ReplayError, TableState, url_decoded};
use crate::table::Table;

const CREATE: &str = r#"{"commitInfo":{"timestamp":1}}
{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}
{"metaData":{"id":"x","schemaString":"{}","partitionColumns":[],"configuration":{}}}"#;

fn add(path: &str) -> String {
    format!(
        r#"{{"add":{{"path":"{path}","partitionValues":{{"tenant":"acme","dt":"2026-11-20"}},"size":10,"modificationTime":0,"dataChange":true,"stats":"{{\"numRecords\":3}}"}}}}"#
    )
}

#[test]
fn files_are_added_and_removed_and_the_last_txn_wins() {
    let mut state = TableState::from_first_entry(Table::Events, CREATE.as_bytes()).unwrap();
    let entry = format!(
        "{}\n{}\n{}",
        add("a.parquet"),
        add("b.parquet"),
        r#"{"txn":{"appId":"g1p07e1","version":9}}"#
    );
    state.apply_entry(1, entry.as_bytes()).unwrap();
    let entry = r#"{"remove":{"path":"a.parquet","dataChange":true,"deletionTimestamp":77}}
{"txn":{"appId":"g1p07e1","version":12}}"#;
    state.apply_entry(2, entry.as_bytes()).unwrap();

    assert_eq!(state.version, 2);
    assert_eq!(state.files.keys().collect::<Vec<_>>(), ["b.parquet"]);
    assert_eq!(state.files["b.parquet"].rows, 3);
    assert_eq!(state.transactions["g1p07e1"], 12);
    assert_eq!(state.removed["a.parquet"], 77);
}

#[test]
fn a_file_that_is_added_again_is_live() {
    let mut state = TableState::from_first_entry(Table::Events, CREATE.as_bytes()).unwrap();
    state.apply_entry(1, add("a").as_bytes()).unwrap();
    state
        .apply_entry(2, br#"{"remove":{"path":"a","dataChange":true}}"#)
        .unwrap();
    state.apply_entry(3, add("a").as_bytes()).unwrap();
    assert!(state.files.contains_key("a") && state.removed.is_empty());
}

#[test]
fn a_log_that_cannot_be_replayed_is_an_error() {
    let mut state = TableState::from_first_entry(Table::Events, CREATE.as_bytes()).unwrap();
    let gap = ReplayError::MissingEntry {
        version: 0,
        found: 2,
    };
    assert_eq!(state.apply_entry(2, b"{}"), Err(gap));
    let error = state.apply_entry(1, b"{\"add\":").unwrap_err();
    assert!(matches!(
        error,
        ReplayError::MalformedEntry { version: 1, .. }
    ));
    let newer = br#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7}}"#;
    assert_eq!(
        state.apply_entry(1, newer),
        Err(ReplayError::UnsupportedProtocol(3))
    );
}

#[test]
fn encoded_paths_are_decoded() {
    assert_eq!(
        url_decoded("dt=2026-11-20/a%20b%25.parquet"),
        "dt=2026-11-20/a b%.parquet"
    );
    assert_eq!(url_decoded("100%"), "100%");
}
