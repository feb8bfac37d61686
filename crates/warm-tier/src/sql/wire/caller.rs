//! The side of the process that serves SQL.

use std::{
    fmt,
    io::{self, BufReader, BufWriter, Read, Write},
};

use bytes::Bytes;

use super::{
    CHUNK_BYTES, MAX_REPLY_BYTES, RunRequest, WorkReply, WorkRequest, read_json, read_limited,
    write_json,
};
use crate::sql::{Limits, Select, SqlError, TableSources};

/// A statement to run in another process.
#[derive(Clone, Debug)]
pub struct Job {
    pub sql: String,
    pub limits: Limits,
    /// The name of an encoding, which the other process passes to its encoder.
    pub encoding: String,
}

/// Rows as one Arrow IPC stream, in any subset of their table's columns. It fails when they cannot be read: then
/// the statement is not run.
pub struct RowStream(Box<dyn Read + Send>);

impl RowStream {
    /// The stream that `bytes` are.
    pub fn new(bytes: impl Read + Send + 'static) -> Self {
        Self(Box::new(bytes))
    }
}

impl fmt::Debug for RowStream {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("RowStream").finish_non_exhaustive()
    }
}

/// A process that runs statements, one at a time, by its stdin and stdout.
#[derive(Debug)]
pub struct Caller<W: Write, R> {
    to: BufWriter<W>,
    from: BufReader<R>,
}

impl<W: Write, R: Read> Caller<W, R> {
    /// A process that has just started.
    pub fn new(to: W, from: R) -> Self {
        Self {
            to: BufWriter::new(to),
            from: BufReader::new(from),
        }
    }

    /// Returns what the statement `sql` reads. Blocks until the other process answers or ends.
    ///
    /// # Errors
    /// The error of the statement, or [`SqlError::Died`] when the other process ends without an answer.
    pub fn parse(&mut self, sql: &str, limits: Limits) -> Result<Select, SqlError> {
        let request = WorkRequest::Parse {
            sql: sql.to_owned(),
        };
        let sent = write_json(&mut self.to, &request).and_then(|()| self.to.flush());
        sent.map_err(|_| SqlError::Died)?;
        match self.reply()? {
            WorkReply::Reads(select) => Ok(select),
            reply => Err(reply.error(limits)),
        }
    }

    /// Sends the statement with its rows, and waits for the answer. Blocks until the other process answers or
    /// ends, or the rows end with an error.
    ///
    /// # Errors
    /// The error of the statement, or [`SqlError::Died`] when the other process ends without an answer, or does
    /// not get all rows. The process cannot be used any more.
    pub fn run(
        mut self,
        job: Job,
        tables: Vec<(TableSources, Vec<RowStream>)>,
    ) -> Result<Chunks<W, R>, SqlError> {
        let limits = job.limits;
        // A process that has failed meanwhile reads no rows, so an error here is no failure: its answer
        // decides. One that has not got all rows must not run.
        self.send(job, tables)?;
        match self.reply()? {
            WorkReply::Answer => Ok(Chunks {
                process: Some(self),
                left: limits.max_bytes,
                ended: false,
            }),
            reply => Err(reply.error(limits)),
        }
    }

    /// Sends the statement and its rows, as far as the process reads them.
    fn send(
        &mut self,
        job: Job,
        tables: Vec<(TableSources, Vec<RowStream>)>,
    ) -> Result<(), SqlError> {
        let (tables, rows): (_, Vec<_>) = tables
            .into_iter()
            .map(|(sources, rows)| ((sources, rows.len()), rows))
            .unzip();
        let request = WorkRequest::Run(RunRequest {
            sql: job.sql,
            encoding: job.encoding,
            limits: job.limits,
            tables,
        });
        // When it does not read on, it has ended or is about to say why.
        let mut are_lost = false;
        let mut sent = write_json(&mut self.to, &request);
        for RowStream(rows) in rows.into_iter().flatten() {
            let mut rows = Tracked {
                rows,
                failed: &mut are_lost,
            };
            sent = sent.and_then(|()| io::copy(&mut rows, &mut self.to).map(drop));
        }
        let _ = sent.and_then(|()| self.to.flush());
        match are_lost {
            true => Err(SqlError::Died),
            false => Ok(()),
        }
    }

    fn reply(&mut self) -> Result<WorkReply, SqlError> {
        read_json(&mut self.from, MAX_REPLY_BYTES).map_err(|_| SqlError::Died)
    }
}

/// Rows, and whether they could not be read.
struct Tracked<'a> {
    rows: Box<dyn Read + Send>,
    failed: &'a mut bool,
}

impl Read for Tracked<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.rows.read(into).inspect_err(|error| {
            *self.failed |= error.kind() != io::ErrorKind::Interrupted;
        })
    }
}

/// The encoded answer, chunk by chunk. An error means that the other process ended before it was whole.
#[derive(Debug)]
pub struct Chunks<W: Write, R> {
    process: Option<Caller<W, R>>,
    /// Bytes that may still come.
    left: usize,
    ended: bool,
}

impl<W: Write, R> Chunks<W, R> {
    /// The process for its next statement; `None` unless the answer came whole.
    pub fn into_process(self) -> Option<Caller<W, R>> {
        self.process.filter(|_| self.ended)
    }
}

impl<W: Write, R: Read> Iterator for Chunks<W, R> {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let process = self.process.as_mut().filter(|_| !self.ended)?;
        let max = u32::try_from(CHUNK_BYTES).expect("a small number");
        let chunk = read_limited(&mut process.from, max).and_then(|chunk| {
            let left = self.left.checked_sub(chunk.len());
            self.left = left.ok_or_else(|| io::Error::other("the answer is too long"))?;
            Ok(Bytes::from(chunk))
        });
        match chunk {
            Ok(chunk) if chunk.is_empty() => {
                self.ended = true;
                None
            }
            Ok(chunk) => Some(Ok(chunk)),
            Err(error) => {
                self.process = None;
                Some(Err(error))
            }
        }
    }
}
