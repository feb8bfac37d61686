//! Calls that cannot work end at once, with what to do instead.

use std::{net::TcpListener, time::Duration};

use testkit::Service;

const LIMIT: Duration = Duration::from_secs(60);

async fn refused(args: &[&str]) -> (i32, String) {
    let mut isotherm = Service::start(env!("CARGO_BIN_EXE_isotherm"), args);
    let status = isotherm.wait(LIMIT).await;
    (status.code().unwrap(), isotherm.stderr())
}

#[tokio::test]
async fn what_can_never_start_is_a_usage_error_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data_text = data.to_str().unwrap();
    for (args, word) in [
        (["--partitions", "0"], "from 1 to 1024"),
        (["--partitions", "1025"], "from 1 to 1024"),
        (["--cold", "ftp://x"], "s3://bucket/prefix"),
    ] {
        let (code, stderr) = refused(&[&["dev", "--data", data_text], &args[..]].concat()).await;
        assert_eq!(code, 2, "{args:?}: {stderr}");
        assert!(stderr.contains(word), "{args:?}: {stderr}");
        assert!(!data.exists());
    }
}

#[tokio::test]
async fn a_bucket_without_keys_is_a_usage_error_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let args = [
        "dev",
        "--cold",
        "s3://bucket",
        "--data",
        data.to_str().unwrap(),
    ];
    let no_keys = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_METADATA_ENDPOINT",
        "AWS_SKIP_SIGNATURE",
    ]
    .map(|name| (name, ""));
    let mut dev = Service::start_with(env!("CARGO_BIN_EXE_isotherm"), args, no_keys);
    assert_eq!(dev.wait(LIMIT).await.code(), Some(2));
    let stderr = dev.stderr();
    assert!(
        stderr.contains("AWS_SECRET_ACCESS_KEY are not set"),
        "{stderr}"
    );
    assert!(!data.exists());
}

#[tokio::test]
async fn a_file_for_the_other_import_is_sent_there_before_ingest_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = format!("http://127.0.0.1:{}", testkit::free_port());
    for (kind, content, other) in [
        ("jsonl", "SQLite format 3\0...", "isotherm import sqlite "),
        ("sqlite", "{\"content\":\"x\"}\n", "isotherm import jsonl "),
    ] {
        let file = dir.path().join(kind);
        std::fs::write(&file, content).unwrap();
        let file = file.to_str().unwrap();
        let (code, stderr) = refused(&["--ingest-url", &nobody, "import", kind, file]).await;
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains(&format!("{other}{file}")), "{stderr}");
    }
}

#[tokio::test]
async fn a_program_whose_output_could_not_be_stored_is_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("made");
    let touch = ["--", "touch", made.to_str().unwrap()];
    let (code, stderr) = refused(&[&["run", "--conversation", "a b"], &touch[..]].concat()).await;
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("conversation_id contains ' '"), "{stderr}");
    assert!(!made.exists());
}

#[tokio::test]
async fn a_policy_that_is_no_text_is_refused_with_what_to_give() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [0xff, 0xfe, 0x00]).unwrap();
    let (code, stderr) = refused(&["policy", "apply", file.path().to_str().unwrap()]).await;
    assert_eq!(code, 1);
    assert!(
        stderr.contains("give files of RetentionPolicy objects"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_nats_is_named_with_the_flag() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = std::io::Write::write_all(&mut stream.unwrap(), b"HTTP/1.1 400 x\r\n\r\n");
        }
    });
    let (code, stderr) = refused(&["policy", "show", "--nats-url", &url]).await;
    assert_eq!(code, 1);
    assert!(
        stderr.contains("no NATS server answers") && stderr.contains("--nats-url"),
        "{stderr}"
    );
}

#[tokio::test]
async fn an_error_cannot_move_the_cursor_of_the_terminal() {
    for args in [
        &["import", "jsonl", "no\u{1b}[2J\u{202e}file"][..],
        &["append", "--conversation", "a\u{1b}[2Jb", "x"],
        &["policy", "validate", "no\u{9b}2Jfile"],
        &["get", "--no\u{1b}[2J"],
    ] {
        let (code, stderr) = refused(args).await;
        assert_ne!(code, 0, "{stderr}");
        let moves = |c: &char| c.is_control() && *c != '\n' || *c == '\u{202e}';
        assert_eq!(stderr.chars().find(moves), None, "{stderr:?}");
    }
}
