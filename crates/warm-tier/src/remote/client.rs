//! The reader's side.

use std::{pin::Pin, time::Duration};

use arrow::record_batch::RecordBatch;
use arrow_flight::{
    Action, Ticket, decode::FlightRecordBatchStream, error::FlightError,
    flight_service_client::FlightServiceClient,
};
use event::{PartitionId, Seq};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use serde::de::DeserializeOwned;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use super::{COVERAGE_ACTION, Coverage, DUPLICATES_ACTION, Duplicates, DuplicatesRequest, Scan};
use crate::error::{Error, Result};

/// A scan's answer. Dropping it ends the scan.
pub type BatchStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// One compactor. Cheap to clone; connects when it is first used, and again when it must.
#[derive(Clone, Debug)]
pub struct Client {
    flight: FlightServiceClient<Channel>,
}

impl Client {
    /// `url` is `http://host:port`.
    pub fn new(url: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|error| Error::Invalid(format!("{url}: {error}")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5));
        let flight = FlightServiceClient::new(endpoint.connect_lazy())
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { flight })
    }

    /// What is there now.
    pub async fn coverage(&self) -> Result<Coverage> {
        self.ask(COVERAGE_ACTION, Vec::new()).await
    }

    /// What its writer has found to repeat earlier events in `partition` behind `after`. It speaks
    /// of what is not sealed and of the range sealed last, at least.
    pub async fn duplicates(&self, partition: PartitionId, after: Seq) -> Result<Duplicates> {
        let question = DuplicatesRequest { partition, after };
        let question = serde_json::to_vec(&question).expect("a question always has a JSON form");
        self.ask(DUPLICATES_ACTION, question).await
    }

    async fn ask<T: DeserializeOwned>(&self, action: &str, body: Vec<u8>) -> Result<T> {
        let action = Action::new(action, body);
        let mut answers = self.flight.clone().do_action(action).await?.into_inner();
        let answer = answers.message().await?;
        let answer = answer.ok_or_else(|| Error::Remote("an empty answer".to_owned()))?;
        serde_json::from_slice(&answer.body).map_err(|error| Error::Remote(error.to_string()))
    }

    /// The rows of `scan` as they come.
    pub async fn scan(&self, scan: &Scan) -> Result<BatchStream> {
        let ticket =
            Ticket::new(serde_json::to_vec(scan).expect("a ticket always has a JSON form"));
        let answer = self.flight.clone().do_get(ticket).await?.into_inner();
        let batches =
            FlightRecordBatchStream::new_from_flight_data(answer.map_err(FlightError::from));
        Ok(batches.map_err(Error::from).boxed())
    }

    /// All rows of `scan`.
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
