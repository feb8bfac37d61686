//! The side of the process that runs statements.

use std::{
    io::{self, BufReader, BufWriter, Read, Write},
    time::Duration,
};

use arrow::ipc::reader::StreamReader;

use super::{
    CHUNK_BYTES, MAX_REQUEST_BYTES, RunRequest, WorkReply, WorkRequest, read_json, write_chunk,
    write_json,
};
use crate::sql::{Encoder, Sandbox, SqlError, session::Session};

/// The longest that a statement may take to be parsed; milliseconds are usual.
const PARSE_TIME: Duration = Duration::from_secs(10);

/// What a process does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It works on a statement, for so long at most.
    Statement(Duration),
    /// It waits for a request, or its answer is read.
    Waits,
}

/// Answers request after request until the other process closes the stream, or has ended. `on_work` is called
/// whenever what it does changes.
///
/// # Errors
/// A message is malformed, the other process is gone, or the sandbox is broken: end the process.
pub fn serve(
    from: impl Read,
    to: impl Write,
    sandbox: &mut Sandbox,
    encoder: Encoder<'_>,
    on_work: &dyn Fn(Work),
) -> io::Result<()> {
    let (mut from, mut to) = (BufReader::new(from), BufWriter::new(to));
    loop {
        match read_json(&mut from, MAX_REQUEST_BYTES) {
            Ok(WorkRequest::Parse { sql }) => {
                on_work(Work::Statement(PARSE_TIME));
                let parsed = sandbox.parse(&sql);
                let reply = parsed.map_or_else(WorkReply::from, WorkReply::Reads);
                write_json(&mut to, &reply)?;
            }
            Ok(WorkRequest::Run(request)) => {
                on_work(Work::Statement(request.limits.timeout));
                let answer = run(&mut from, sandbox, &request, encoder)?;
                on_work(Work::Waits);
                let has_failed = answer.is_err();
                send(&mut to, answer)?;
                if has_failed {
                    // Some of its rows may still be on their way.
                    return to.flush();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        to.flush()?;
        on_work(Work::Waits);
    }
}

/// Runs a statement on its rows, which come by `from`. Errors of the statement are part of what is returned.
fn run(
    from: &mut impl Read,
    sandbox: &mut Sandbox,
    request: &RunRequest,
    encoder: Encoder<'_>,
) -> io::Result<Result<Vec<u8>, SqlError>> {
    let select = sandbox.parse(&request.sql);
    let select = match select {
        Ok(select) => select,
        Err(error) => return Ok(Err(error)),
    };
    let tables = request.tables.iter().map(|(sources, _)| sources);
    let mut session = match sandbox.begin(request.limits, tables) {
        Ok(session) => session,
        Err(error) => return Ok(Err(error)),
    };
    let loaded = load(from, &mut session, request)?;
    let answer = loaded.and_then(|()| session.run(&select, &request.encoding, encoder));
    session.end().map_err(io::Error::other)?;
    Ok(answer)
}

/// Creates the tables, and reads the rows of each.
fn load(
    from: &mut impl Read,
    session: &mut Session<'_>,
    request: &RunRequest,
) -> io::Result<Result<(), SqlError>> {
    for (sources, streams) in &request.tables {
        if let Err(error) = session.create(sources) {
            return Ok(Err(error));
        }
        for _ in 0..*streams {
            let rows = StreamReader::try_new(&mut *from, None).map_err(io::Error::other)?;
            for batch in rows {
                let batch = batch.map_err(io::Error::other)?;
                if let Err(error) = session.load(sources.table, batch) {
                    return Ok(Err(error));
                }
            }
        }
    }
    Ok(Ok(()))
}

fn send(to: &mut impl Write, answer: Result<Vec<u8>, SqlError>) -> io::Result<()> {
    match answer {
        Ok(encoded) => {
            write_json(to, &WorkReply::Answer)?;
            for chunk in encoded.chunks(CHUNK_BYTES) {
                write_chunk(to, chunk)?;
            }
            write_chunk(to, &[])
        }
        Err(error) => write_json(to, &WorkReply::from(error)),
    }
}
