//! The protocol between the process that serves SQL and one that runs statements. Everything that touches the
//! text of the user happens in the second one. It answers request after request:
//!
//! | request | answer |
//! |---|---|
//! | parse: the statement | what the statement reads, or an error |
//! | run: the statement, its limits, the encoding of its answer and the slices of each table; then the other rows of each table | the encoded answer in chunks, or an error |
//!
//! Messages are JSON with a length prefix (u32, little-endian), rows are Arrow IPC streams, chunks have
//! the same prefix and end with an empty one.

mod caller;
mod worker;

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use caller::{Caller, Chunks, Job, RowStream};
pub use worker::{Work, serve};

use super::{Limits, Select, SqlError, TableSources};

/// Most bytes of a JSON message: a statement of 64 KiB, escaped, and its slices.
const MAX_REQUEST_BYTES: u32 = 16 << 20;
/// Most bytes of a JSON message of a process that may run hostile code: what a statement names.
const MAX_REPLY_BYTES: u32 = 1 << 20;
/// Bytes of a chunk of the answer. No reason but to bound memory.
const CHUNK_BYTES: usize = 256 << 10;
/// Most bytes of an error message that are passed on.
const MAX_MESSAGE_BYTES: usize = 4 << 10;

/// A request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WorkRequest {
    Parse {
        sql: String,
    },
    /// The rows of each table follow.
    Run(RunRequest),
}

#[derive(Debug, Serialize, Deserialize)]
struct RunRequest {
    sql: String,
    encoding: String,
    limits: Limits,
    /// With the number of their streams of rows.
    tables: Vec<(TableSources, usize)>,
}

/// The answer to a request; the limits are not part of an error.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", content = "detail", rename_all = "snake_case")]
pub(super) enum WorkReply {
    Reads(Select),
    /// The chunks follow.
    Answer,
    NotAllowed(String),
    Invalid(String),
    Stale,
    Timeout,
    Memory,
    ResultTooLarge,
    Engine(String),
}

impl WorkReply {
    pub(super) fn error(self, limits: Limits) -> SqlError {
        match self {
            Self::NotAllowed(message) => SqlError::NotAllowed(shortened(message)),
            Self::Invalid(message) => SqlError::Invalid(shortened(message)),
            Self::Stale => SqlError::Stale,
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

impl From<SqlError> for WorkReply {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::NotAllowed(message) => Self::NotAllowed(shortened(message)),
            SqlError::Invalid(message) => Self::Invalid(shortened(message)),
            SqlError::Stale => Self::Stale,
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

fn read_json<T: DeserializeOwned>(from: &mut impl Read, max: u32) -> io::Result<T> {
    Ok(serde_json::from_slice(&read_limited(from, max)?)?)
}

fn write_chunk(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(bytes)
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
