//! `isotherm get`: its notes on stderr.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    process::{Command, Output},
    thread,
};

use crate::{dev::text, import::server::Server};

fn isotherm(server: &Server, args: &[&str]) -> Output {
    isotherm_at(&server.url(), args)
}

fn isotherm_at(url: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isotherm"));
    command.args(["--url", url, "--ingest-url", url]).args(args);
    command.output().unwrap()
}

#[test]
fn a_conversation_without_events_is_reported_as_unknown() {
    let server = Server::start();
    let said = isotherm(&server, &["append", "--conversation", "known", "x"]);
    assert!(said.status.success(), "{}", text(&said.stderr));

    for args in [&["get", "nobody"][..], &["get", "nobody", "--text"]] {
        let output = isotherm(&server, args);
        assert!(output.status.success());
        assert_eq!(
            text(&output.stderr),
            "no events of conversation \"nobody\"; isotherm conversations lists those that there \
             are\n"
        );
    }
    for format in ["json", "ndjson", "csv"] {
        let output = isotherm(&server, &["get", "nobody", "-o", format]);
        assert_eq!(text(&output.stderr), "", "{format}");
    }
    let after = "0001-0000-0001-00000000000000000009-0000";
    for args in [&["get", "known"][..], &["get", "known", "--after", after]] {
        let output = isotherm(&server, args);
        assert!(output.status.success());
        assert_eq!(text(&output.stderr), "", "{args:?}");
    }
}

#[test]
fn an_incomplete_answer_is_reported_once_and_no_conversation_is_called_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while stream.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\nisotherm-complete: false\r\n\
                          content-length: 0\r\n\r\n";
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });

    let output = isotherm_at(&url, &["get", "old"]);

    assert!(output.status.success());
    let said = text(&output.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.starts_with("warning: the answer is incomplete"),
        "{said}"
    );
}
