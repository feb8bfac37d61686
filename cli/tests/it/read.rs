//! `isotherm get`: what it says beside the events.

use std::process::{Command, Output};

use crate::{dev::text, import::server::Server};

fn isotherm(server: &Server, args: &[&str]) -> Output {
    let url = server.url();
    let mut command = Command::new(env!("CARGO_BIN_EXE_isotherm"));
    command
        .args(["--url", &url, "--ingest-url", &url])
        .args(args);
    command.output().unwrap()
}

#[test]
fn a_conversation_that_nobody_wrote_is_said_to_be_none() {
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
