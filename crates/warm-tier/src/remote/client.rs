//! The client of a compactor, for readers and the archiver.

use std::{pin::Pin, time::Duration};

use arrow::record_batch::RecordBatch;
use arrow_flight::{
    Action, Ticket, decode::FlightRecordBatchStream, error::FlightError,
    flight_service_client::FlightServiceClient,
};
use event::{PartitionId, Seq, SeqRange};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use serde::de::DeserializeOwned;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use super::{CHECK_ACTION, COVERAGE_ACTION, DUPLICATES_ACTION};
use crate::{
    coverage::Coverage,
    duplicates::{Duplicates, DuplicatesRequest},
    error::{Error, Result},
    open_files::RunFiles,
    scan_request::{CheckRequest, Scan},
};

/// The batches of a scan. Dropping the stream ends the scan.
pub type BatchStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// Time for a connection attempt. Compactors are in the same network: no reason but to fail soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Most bytes of one message: no reason but to bound memory.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of one scan that wait for its reader.
const STREAM_WINDOW: u32 = 1 << 20;
/// Bytes of all scans that wait for their readers: twice those of as many scans as a compactor runs at once, so that
/// scans that nobody reads hold up neither others nor the coverage.
const CONNECTION_WINDOW: u32 = 32 << 20;

/// A client of one compactor. Cheap to clone; connects at the first call and reconnects by itself.
#[derive(Clone, Debug)]
pub struct Client {
    url: String,
    store: Option<String>,
    flight: FlightServiceClient<Channel>,
}

impl Client {
    /// Creates a client of the compactor at `url`, which is `http://host:port`, of the store with the id `store`; without
    /// one it may be of any. Does not connect yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `url` is malformed.
    pub fn new(url: &str, store: Option<String>) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|error| Error::Invalid(format!("{url}: {error}")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5));
        let flight = FlightServiceClient::new(endpoint.connect_lazy())
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self {
            url: url.to_owned(),
            store,
            flight,
        })
    }

    /// Reads the coverage of every partition.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the compactor does not answer: retry. [`Error::OtherCompactor`] when it is
    /// of another store: nothing of it may be read. [`Error::Remote`] when its answer is malformed.
    pub async fn coverage(&self) -> Result<Coverage> {
        let coverage: Coverage = self.call_action(COVERAGE_ACTION, Vec::new()).await?;
        match (&coverage.store, &self.store) {
            (Some(found), Some(own)) if found != own => Err(Error::OtherCompactor {
                url: self.url.clone(),
                found: found.clone(),
                own: own.clone(),
            }),
            _ => Ok(coverage),
        }
    }

    /// Reads the duplicates of `partition` after `after`. The range of the answer has at least what is
    /// not sealed and the range sealed last, up to the last committed sequence.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the compactor does not answer or the partition is not open yet:
    /// retry. [`Error::Remote`] when its answer is malformed.
    pub async fn duplicates(&self, partition: PartitionId, after: Seq) -> Result<Duplicates> {
        let request = DuplicatesRequest { partition, after };
        let request = serde_json::to_vec(&request).expect("a request always has a JSON form");
        self.call_action(DUPLICATES_ACTION, request).await
    }

    /// Reports that a row of `range` of `partition` does not have its checksum. The compactor checks the
    /// slices there and takes damaged ones out of its coverage; returns their number.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the compactor does not answer: retry. [`Error::Remote`] when it cannot
    /// read a slice now.
    pub async fn check(&self, partition: PartitionId, range: SeqRange) -> Result<usize> {
        let SeqRange { lo, hi } = range;
        let request = CheckRequest { partition, lo, hi };
        let request = serde_json::to_vec(&request).expect("a request always has a JSON form");
        self.call_action(CHECK_ACTION, request).await
    }

    /// Calls a Flight action and parses the JSON of its answer.
    async fn call_action<T: DeserializeOwned>(&self, action: &str, body: Vec<u8>) -> Result<T> {
        let action = Action::new(action, body);
        let mut answers = self.flight.clone().do_action(action).await?.into_inner();
        let answer = answers.message().await?;
        let answer = answer.ok_or_else(|| Error::Remote("an empty answer".to_owned()))?;
        serde_json::from_slice(&answer.body).map_err(|error| Error::Remote(error.to_string()))
    }

    /// Starts `scan` and streams its batches.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the compactor does not answer, or when the slices have changed since
    /// the coverage was read: read it and plan again. [`Error::Invalid`] when the scan can never be
    /// run. The stream ends with the same errors.
    pub async fn scan(&self, scan: &Scan) -> Result<BatchStream> {
        let ticket =
            Ticket::new(serde_json::to_vec(scan).expect("a ticket always has a JSON form"));
        let answer = self.flight.clone().do_get(ticket).await?.into_inner();
        let batches =
            FlightRecordBatchStream::new_from_flight_data(answer.map_err(FlightError::from));
        Ok(batches.map_err(Error::from).boxed())
    }

    /// Starts `scan` as a reader that lies beside the files: returns the files that have some of its rows, and streams
    /// the others.
    ///
    /// # Errors
    /// Those of [`Client::scan`].
    pub async fn scan_beside_files(&self, scan: &Scan) -> Result<(Vec<RunFiles>, BatchStream)> {
        let scan = Scan {
            beside_files: true,
            ..scan.clone()
        };
        let ticket =
            Ticket::new(serde_json::to_vec(&scan).expect("a ticket always has a JSON form"));
        let mut answer = self.flight.clone().do_get(ticket).await?.into_inner();
        let first = answer.message().await?;
        let files = match &first {
            Some(first) if !first.app_metadata.is_empty() => {
                let files = serde_json::from_slice(&first.app_metadata);
                files.map_err(|error| Error::Remote(error.to_string()))?
            }
            _ => Vec::new(),
        };
        let all = stream::iter(first.map(Ok)).chain(answer.map_err(FlightError::from));
        let batches = FlightRecordBatchStream::new_from_flight_data(all);
        Ok((files, batches.map_err(Error::from).boxed()))
    }

    /// Runs `scan` and collects its batches.
    ///
    /// # Errors
    /// Those of [`Client::scan`].
    pub async fn collect(&self, scan: &Scan) -> Result<Vec<RecordBatch>> {
        self.scan(scan).await?.try_collect().await
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            Code::Unavailable
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            // The slices have changed since the coverage was read.
            | Code::FailedPrecondition => Self::Unavailable(message),
            Code::InvalidArgument => Self::Invalid(message),
            _ => Self::Remote(format!("{:?}: {message}", status.code())),
        }
    }
}

impl From<FlightError> for Error {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Tonic(status) => (*status).into(),
            FlightError::Arrow(error) => Self::Arrow(error),
            other => Self::Remote(other.to_string()),
        }
    }
}
