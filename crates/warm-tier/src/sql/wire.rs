//! The protocol between the process that serves SQL and the one that runs a statement. Everything that
//! touches the text of the user happens in the second one:
//!
//! | direction | message |
//! |---|---|
//! | to the statement's process | the statement, its limits, and the encoding of its answer |
//! | back | what the statement reads, or an error |
//! | to the statement's process | the rows of each of these tables |
//! | back | the encoded answer in chunks, or an error |
//!
//! Messages are JSON with a length prefix (u32, little-endian), rows are Arrow IPC streams, chunks have
//! the same prefix and end with an empty one.

use std::{
    collections::BTreeSet,
    io::{self, BufReader, BufWriter, Read, Write},
    time::Duration,
};

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    error::ArrowError,
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use bytes::Bytes;
use event::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Columns, Limits, Pushdown, Sandbox, Select, SqlError, Table, engine::Encoder};

/// Most bytes of a JSON message: a statement of 64 KiB, escaped, and a few numbers. The other process may
/// run hostile code, so nothing that it sends is read without a limit.
const MAX_JSON_BYTES: u32 = 1 << 20;
/// Bytes of a chunk of the answer. No reason but to bound memory.
const CHUNK_BYTES: usize = 256 << 10;
/// Most bytes of an error message that are passed on.
const MAX_MESSAGE_BYTES: usize = 4 << 10;

/// The rows of one table.
#[derive(Debug)]
pub struct TableRows {
    pub table: Table,
    /// Any subset of the table's columns.
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

/// A statement to run in another process.
#[derive(Debug)]
pub struct Job {
    pub sql: String,
    pub limits: Limits,
    /// The name of an encoding, which [`Received::execute`] passes to its encoder.
    pub encoding: String,
}

/// The first message.
#[derive(Debug, Serialize, Deserialize)]
struct JobHeader {
    sql: String,
    encoding: String,
    memory_bytes: u64,
    threads: u16,
    timeout_micros: u64,
    max_rows: usize,
    max_bytes: usize,
}

/// The answer to each of the two requests.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", content = "detail", rename_all = "snake_case")]
enum JobOutcome {
    /// To the first.
    Reads(Reads),
    /// To the second; the chunks follow.
    Answer,
    NotAllowed(String),
    Invalid(String),
    Timeout,
    Memory,
    ResultTooLarge,
    Engine(String),
}

/// What a statement reads.
#[derive(Debug, Serialize, Deserialize)]
struct Reads {
    tables: Vec<String>,
    /// `None` is all columns.
    columns: Option<BTreeSet<String>>,
    conversations: Option<BTreeSet<String>>,
    types: Option<BTreeSet<String>>,
    from_micros: Option<i64>,
    to_micros: Option<i64>,
}

/// A statement that the other process has parsed and that waits for its rows.
#[derive(Debug)]
pub struct Parsed<W: Write, R> {
    to: BufWriter<W>,
    from: BufReader<R>,
    limits: Limits,
}

impl Job {
    /// Sends the statement and waits until it is parsed. Blocks until the other process answers or ends.
    ///
    /// # Errors
    /// The error of the statement, or [`SqlError::Died`] when the other process ends without an answer.
    pub fn parse<W: Write, R: Read>(
        self,
        to: W,
        from: R,
    ) -> Result<(Select, Parsed<W, R>), SqlError> {
        let limits = self.limits;
        let mut parsed = Parsed {
            to: BufWriter::new(to),
            from: BufReader::new(from),
            limits,
        };
        let sent = write_json(&mut parsed.to, &self.header()).and_then(|()| parsed.to.flush());
        sent.map_err(|_| SqlError::Died)?;
        match parsed.outcome()? {
            JobOutcome::Reads(reads) => Ok((reads.try_into()?, parsed)),
            outcome => Err(outcome.error(limits)),
        }
    }

    fn header(self) -> JobHeader {
        let Limits {
            memory_bytes,
            threads,
            timeout,
            max_rows,
            max_bytes,
        } = self.limits;
        JobHeader {
            sql: self.sql,
            encoding: self.encoding,
            memory_bytes,
            threads,
            timeout_micros: u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX),
            max_rows,
            max_bytes,
        }
    }
}

impl<W: Write, R: Read> Parsed<W, R> {
    /// Sends the rows, calls `sent` when they are no longer in memory, and waits for the answer. Blocks until
    /// the other process answers or ends.
    ///
    /// # Errors
    /// The error of the statement, or [`SqlError::Died`] when the other process ends without an answer.
    pub fn run(
        mut self,
        tables: Vec<TableRows>,
        sent: impl FnOnce(),
    ) -> Result<Chunks<R>, SqlError> {
        // A process that has failed meanwhile reads no rows, so an error here is no failure: its answer
        // decides.
        let _ = self.send(tables);
        sent();
        match self.outcome()? {
            JobOutcome::Answer => Ok(Chunks {
                from: self.from,
                left: self.limits.max_bytes,
                ended: false,
            }),
            outcome => Err(outcome.error(self.limits)),
        }
    }

    fn send(&mut self, tables: Vec<TableRows>) -> io::Result<()> {
        write_json(&mut self.to, &tables.len())?;
        for TableRows {
            table,
            schema,
            batches,
        } in tables
        {
            write_json(&mut self.to, &table.name())?;
            write_rows(&mut self.to, &schema, batches)?;
        }
        self.to.flush()
    }

    fn outcome(&mut self) -> Result<JobOutcome, SqlError> {
        read_json(&mut self.from).map_err(|_| SqlError::Died)
    }
}

/// The encoded answer, chunk by chunk. An error means that the other process ended before it was whole.
#[derive(Debug)]
pub struct Chunks<R> {
    from: BufReader<R>,
    /// Bytes that may still come.
    left: usize,
    ended: bool,
}

impl<R: Read> Iterator for Chunks<R> {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let chunk = read_chunk(&mut self.from).and_then(|chunk| {
            let left = self.left.checked_sub(chunk.len());
            self.left = left.ok_or_else(|| io::Error::other("the answer is too long"))?;
            Ok(chunk)
        });
        self.ended = !matches!(&chunk, Ok(chunk) if !chunk.is_empty());
        match chunk {
            Ok(chunk) if chunk.is_empty() => None,
            chunk => Some(chunk),
        }
    }
}

/// A statement that has arrived in the process that runs it.
#[derive(Debug)]
pub struct Received<R, W: Write> {
    header: JobHeader,
    from: BufReader<R>,
    to: BufWriter<W>,
}

impl<R: Read, W: Write> Received<R, W> {
    /// Reads the first message.
    ///
    /// # Errors
    /// An IO error when the stream ends early or the message is malformed: end the process.
    pub fn read(from: R, to: W) -> io::Result<Self> {
        let mut from = BufReader::new(from);
        let header = read_json(&mut from)?;
        let to = BufWriter::new(to);
        Ok(Self { header, from, to })
    }

    /// The limits of the statement.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.header.memory_bytes,
            threads: self.header.threads,
            timeout: Duration::from_micros(self.header.timeout_micros),
            max_rows: self.header.max_rows,
            max_bytes: self.header.max_bytes,
        }
    }

    /// Parses the statement, reads its rows and encodes its answer by `encoder`, which gets the name of
    /// the encoding.
    ///
    /// # Errors
    /// An IO error when the other process is gone: end this one. Errors of the statement are part of
    /// what is returned.
    pub fn execute(mut self, encoder: Encoder<'_>) -> io::Result<Executed<W>> {
        let answer = match self.parse()? {
            Ok((sandbox, select)) => self
                .load(&sandbox)?
                .and_then(|()| sandbox.run(&select, &self.header.encoding, encoder)),
            Err(error) => Err(error),
        };
        let to = self.to;
        Ok(Executed { answer, to })
    }

    /// Parses the statement and says what it reads.
    fn parse(&mut self) -> io::Result<Result<(Sandbox, Select), SqlError>> {
        let parsed = Sandbox::open(self.limits()).and_then(|sandbox| {
            let select = sandbox.parse(&self.header.sql)?;
            Ok((sandbox, select))
        });
        if let Ok((_, select)) = &parsed {
            write_json(&mut self.to, &JobOutcome::Reads(Reads::from(select)))?;
            self.to.flush()?;
        }
        Ok(parsed)
    }

    /// Reads the rows into `sandbox`.
    fn load(&mut self, sandbox: &Sandbox) -> io::Result<Result<(), SqlError>> {
        let tables: usize = read_json(&mut self.from)?;
        for _ in 0..tables {
            let name: String = read_json(&mut self.from)?;
            let table = Table::of_name(&name)
                .ok_or_else(|| io::Error::other(format!("no table {name}")))?;
            let rows = StreamReader::try_new(&mut self.from, None).map_err(io::Error::other)?;
            let schema = rows.schema();
            // Row by row, so that no more than one batch lies beside DuckDB's own copy.
            let mut broken = None;
            let rows = rows.map_while(|batch| batch.map_err(|error| broken = Some(error)).ok());
            let loaded = sandbox.load(table, &schema, rows);
            if let Some(error) = broken {
                return Err(io::Error::other(error));
            }
            if let Err(error) = loaded {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }
}

/// A statement that has run; its answer is not sent yet.
#[derive(Debug)]
pub struct Executed<W: Write> {
    answer: Result<Vec<u8>, SqlError>,
    to: BufWriter<W>,
}

impl<W: Write> Executed<W> {
    /// Sends the answer, or the error.
    ///
    /// # Errors
    /// An IO error when the other process is gone: end this one.
    pub fn send(mut self) -> io::Result<()> {
        match self.answer {
            Ok(encoded) => {
                write_json(&mut self.to, &JobOutcome::Answer)?;
                for chunk in encoded.chunks(CHUNK_BYTES) {
                    write_chunk(&mut self.to, chunk)?;
                }
                write_chunk(&mut self.to, &[])?;
            }
            Err(error) => write_json(&mut self.to, &JobOutcome::from(error))?,
        }
        self.to.flush()
    }
}

impl From<&Select> for Reads {
    fn from(select: &Select) -> Self {
        let Pushdown {
            conversations,
            types,
            timestamp_from,
            timestamp_to,
        } = select.pushdown.clone();
        Self {
            tables: select
                .tables
                .iter()
                .map(|table| table.name().to_owned())
                .collect(),
            columns: match &select.columns {
                Columns::All => None,
                Columns::Named(names) => Some(names.clone()),
            },
            conversations,
            types,
            from_micros: timestamp_from.map(Timestamp::as_micros),
            to_micros: timestamp_to.map(Timestamp::as_micros),
        }
    }
}

impl TryFrom<Reads> for Select {
    type Error = SqlError;

    fn try_from(reads: Reads) -> Result<Self, SqlError> {
        let tables = reads.tables.iter().map(|name| Table::of_name(name));
        Ok(Self {
            sql: String::new(),
            tables: tables.collect::<Option<_>>().ok_or(SqlError::Died)?,
            columns: reads.columns.map_or(Columns::All, Columns::Named),
            pushdown: Pushdown {
                conversations: reads.conversations,
                types: reads.types,
                timestamp_from: reads.from_micros.map(Timestamp::from_micros),
                timestamp_to: reads.to_micros.map(Timestamp::from_micros),
            },
        })
    }
}

impl JobOutcome {
    /// The error of the statement; the limits are not part of the protocol.
    fn error(self, limits: Limits) -> SqlError {
        match self {
            Self::NotAllowed(message) => SqlError::NotAllowed(shortened(message)),
            Self::Invalid(message) => SqlError::Invalid(shortened(message)),
            Self::Timeout => SqlError::Timeout(limits.timeout),
            Self::Memory => SqlError::Memory(limits.memory_bytes),
            Self::ResultTooLarge => SqlError::ResultTooLarge {
                rows: limits.max_rows,
                bytes: limits.max_bytes,
            },
            Self::Engine(message) => SqlError::Engine(shortened(message)),
            Self::Answer | Self::Reads(_) => SqlError::Died,
        }
    }
}

impl From<SqlError> for JobOutcome {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::NotAllowed(message) => Self::NotAllowed(shortened(message)),
            SqlError::Invalid(message) => Self::Invalid(shortened(message)),
            SqlError::Timeout(_) => Self::Timeout,
            SqlError::Memory(_) => Self::Memory,
            SqlError::ResultTooLarge { .. } => Self::ResultTooLarge,
            SqlError::Engine(message) => Self::Engine(shortened(message)),
            SqlError::Died => Self::Engine("it died".to_owned()),
        }
    }
}

/// `message` within [`MAX_MESSAGE_BYTES`]: it may quote what the statement made.
fn shortened(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
    message
}

fn write_json(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    write_chunk(to, &serde_json::to_vec(value)?)
}

fn read_json<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let json = read_limited(from, MAX_JSON_BYTES)?;
    Ok(serde_json::from_slice(&json)?)
}

fn write_chunk(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(bytes)
}

fn read_chunk(from: &mut impl Read) -> io::Result<Bytes> {
    let max = u32::try_from(CHUNK_BYTES).expect("a small number");
    read_limited(from, max).map(Bytes::from)
}

fn read_limited(from: &mut impl Read, max: u32) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > max {
        return Err(io::Error::other("a message is too long"));
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn write_rows(
    to: &mut impl Write,
    schema: &SchemaRef,
    batches: Vec<RecordBatch>,
) -> io::Result<()> {
    let write = || {
        let mut writer = StreamWriter::try_new(to, schema)?;
        for batch in batches {
            writer.write(&batch)?;
        }
        writer.finish()
    };
    write().map_err(|error: ArrowError| io::Error::other(error))
}
