//! Runs kubectl and helm with arguments as one would type them.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
};

/// Runs `program` with the words of `line`, then `rest`. Returns its stdout, or on failure an error
/// with its output.
pub(crate) fn try_run(program: &str, line: &str, rest: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(line.split_whitespace()).args(rest);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!(
            "{program} {line}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        )),
    }
}

/// Runs `program` like [`try_run`], and panics when it fails.
pub(crate) fn run(program: &str, line: &str, rest: &[&str]) -> String {
    try_run(program, line, rest).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn kubectl(line: &str) -> String {
    run("kubectl", line, &[])
}

pub(crate) fn helm(line: &str, rest: &[&str]) -> String {
    run("helm", line, rest)
}

/// Runs `kubectl` with the words of `line` and `objects` on its stdin. Returns its stderr on
/// failure.
pub(crate) fn try_kubectl_stdin(line: &str, objects: &str) -> Result<(), String> {
    let mut command = Command::new("kubectl");
    command.args(line.split_whitespace()).args(["-f", "-"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(objects.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// A `kubectl proxy`: the API server over plain HTTP, and through it every Service. It needs no
/// route into the cluster's network, and is not interrupted when a pod ends.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    pub(crate) url: String,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "kubectl", "proxy", "--port=0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().rsplit(' ').next().unwrap();
        Self {
            url: format!("http://{address}"),
            child,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
