//! `isotherm append` with an ingest that was never started, or has stopped.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use testkit::{eventually, free_port};

use crate::{dev::text, import::server::Server};

fn append(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isotherm"));
    command
        .args(["append", "--ingest-url", url])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Answers one request, then closes the listener. Returns its body.
fn answer_once(listener: TcpListener) -> String {
    let (stream, _) = listener.accept().unwrap();
    drop(listener);
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).unwrap() > 2 {
        let header = line.to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let acked = body.iter().filter(|byte| **byte == b'\n').count();
    let receipt = format!("{{\"acked\":{acked}}}");
    let head = format!(
        "HTTP/1.1 200 x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        receipt.len()
    );
    reader
        .get_mut()
        .write_all((head + &receipt).as_bytes())
        .unwrap();
    text(&body)
}

/// Collects the lines of stderr as they are written.
fn follow(child: &mut Child) -> Arc<Mutex<String>> {
    let said = Arc::new(Mutex::new(String::new()));
    let (into, stderr) = (Arc::clone(&said), child.stderr.take().unwrap());
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            *into.lock().unwrap() += &(line + "\n");
        }
    });
    said
}

#[test]
fn without_an_ingest_an_event_fails_at_once_with_what_to_start() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let output = append(&url, &["--conversation", "c", "hello"])
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for word in [url.as_str(), "`isotherm dev`", "--ingest-url"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn an_event_keeps_the_text_that_was_given_as_its_id() {
    let server = Server::start();
    let args = [
        "--conversation",
        "c",
        "--event-id",
        "run 7, event 1",
        "hello",
    ];
    let output = append(&server.url(), &args).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(server.ids(), ["run 7, event 1".to_owned()].into());
}

#[tokio::test]
async fn once_something_was_stored_an_outage_is_retried_and_reported_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut child = append(&format!("http://{address}"), &[]).spawn().unwrap();
    let said = follow(&mut child);
    let mut stdin = child.stdin.take().unwrap();
    let mut write = |count: usize| {
        let lines = "{\"conversation_id\":\"c\",\"type\":\"t\"}\n".repeat(count);
        stdin.write_all(lines.as_bytes()).unwrap();
    };
    write(500);
    assert_eq!(answer_once(listener).lines().count(), 500);

    write(1);
    drop(stdin);
    eventually("it says that it waits", async || {
        said.lock().unwrap().contains("will try again")
    })
    .await;
    let again = TcpListener::bind(address).unwrap();
    assert_eq!(answer_once(again).lines().count(), 1);

    assert!(child.wait().unwrap().success());
    eventually("it says that it is over", async || {
        said.lock().unwrap().contains("stored again")
    })
    .await;
    let said = said.lock().unwrap();
    assert_eq!(said.matches("will try again").count(), 1, "{said}");
}
