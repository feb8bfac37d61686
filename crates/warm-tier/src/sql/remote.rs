//! An executor of statements over Arrow Flight: the protocol, and its client. The server is a service of its own,
//! beside the files of a compactor.
//!
//! | call | request | answer |
//! |---|---|---|
//! | `DoAction` `parse` | [`ParseRequest`] as JSON | [`Reply`] of what the statement reads, as JSON |
//! | `DoExchange` | [`Execution`] as JSON in the command of the descriptor; then, table by table, the rows that the executor cannot read itself, as the bytes of an Arrow IPC stream in the bodies, the table's number in the metadata | [`Reply`] as JSON in the metadata of the first message; then the encoded answer in the bodies, and an empty one at its end |

mod client;

use event::PartitionId;
use serde::{Deserialize, Serialize};

pub use client::{Executor, ExecutorError, OwnRows};

use super::{Limits, Select, SliceRef, SqlError, Table, wire::WorkReply};
use crate::{scan_request::Scan, serial};

/// The name of the Flight action that parses.
pub const PARSE_ACTION: &str = "parse";

/// A statement to parse.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ParseRequest {
    pub tenant: String,
    pub sql: String,
    pub limits: Limits,
}

/// A statement to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Execution {
    pub tenant: String,
    pub sql: String,
    /// The name of the encoding of the answer.
    pub encoding: String,
    pub limits: Limits,
    pub tables: Vec<TablePlan>,
}

/// Where the rows of one table come from, beside those that come with the request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TablePlan {
    pub table: Table,
    /// The columns that the statement sees, a subset of the table's.
    pub columns: Vec<String>,
    pub partitions: Vec<PartitionPlan>,
}

/// What of one partition the executor reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartitionPlan {
    #[serde(with = "serial::partition")]
    pub partition: PartitionId,
    /// Read in place.
    pub slices: Vec<SliceRef>,
    /// Asked of the compactor: rows that are in no slice yet. They have the table's columns.
    pub scan: Option<Scan>,
}

/// What an executor has to say of a request before anything else.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply(WorkReply);

impl Reply {
    /// The answer to a statement that was parsed.
    #[must_use]
    pub fn parsed(select: Result<Select, SqlError>) -> Self {
        Self(select.map_or_else(WorkReply::from, WorkReply::Reads))
    }

    /// The answer to a statement that was run.
    #[must_use]
    pub fn run(outcome: Result<(), SqlError>) -> Self {
        Self(outcome.map_or_else(WorkReply::from, |()| WorkReply::Answer))
    }
}
