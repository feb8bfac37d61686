//! The end of a command: an error as one line on stderr, and the exit status.

use std::{io, process::ExitCode};

use crate::output;

/// A usage error found after the flags were parsed. Exit status 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Prints the error, if there is one, and returns the exit status. A closed stdout is a success.
pub(crate) fn code(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&format!("error: {}", one_line(&error)));
            if error.is::<Usage>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Prints what the parser of the command line says, and returns the exit status. An argument that it
/// repeats cannot move the cursor.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let plain = error.render().to_string();
    if output::printable_lines(&plain) == plain {
        // A closed stream leaves nowhere to report the error.
        let _ = error.print();
    } else {
        output::note(plain.trim_end());
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// True when stdout was closed by its reader, such as `head`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .root_cause()
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Joins the chain of contexts by `: `, without causes whose text is in the line already.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if line.contains(&cause) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&cause);
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn an_error_is_one_line_and_says_nothing_twice() {
        let error = Err::<(), _>(anyhow::anyhow!("connection refused"))
            .context("connect to ingest: connection refused")
            .unwrap_err();
        assert_eq!(one_line(&error), "connect to ingest: connection refused");
    }

    #[test]
    fn a_closed_stdout_is_no_failure() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_broken_pipe(&error.context("write the answer")));
    }
}
