//! The client of an executor.

use std::{iter, mem, time::Duration};

use arrow::{array::RecordBatch, datatypes::SchemaRef, ipc::writer::StreamWriter};
use arrow_flight::{
    Action, FlightData, FlightDescriptor, flight_service_client::FlightServiceClient,
};
use bytes::Bytes;
use futures::{Stream, stream};
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

use super::{Execution, PARSE_ACTION, ParseRequest, Reply};
use crate::sql::{Select, SqlError, wire::WorkReply};

/// Time to connect to an executor that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of a message: a batch of rows, or a chunk of an answer.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The error of a statement, or of its executor.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// It does not answer, or has no room: try again later.
    #[error("the executor of statements does not answer: {0}")]
    Unavailable(String),
}

/// The rows of one table that go with a request.
pub type OwnRows = (SchemaRef, Vec<RecordBatch>);

/// A client of one executor. Cheap to clone; connects at the first call and reconnects by itself.
#[derive(Clone, Debug)]
pub struct Executor {
    flight: FlightServiceClient<Channel>,
}

impl Executor {
    /// Creates a client of the executor at `url`, which is `http://host:port`. Does not connect yet.
    ///
    /// # Errors
    /// [`ExecutorError::Unavailable`] when `url` is malformed.
    pub fn new(url: &str) -> Result<Self, ExecutorError> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|error| ExecutorError::Unavailable(format!("{url}: {error}")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5));
        let flight = FlightServiceClient::new(endpoint.connect_lazy())
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { flight })
    }

    /// Returns what a statement reads.
    ///
    /// # Errors
    /// [`ExecutorError::Sql`] is the statement's, [`ExecutorError::Unavailable`] the executor's.
    pub async fn parse(&self, request: &ParseRequest) -> Result<Select, ExecutorError> {
        let body = serde_json::to_vec(request).expect("a request always has a JSON form");
        let mut flight = self.flight.clone();
        let answers = flight.do_action(Action::new(PARSE_ACTION, body));
        let answer = answers.await?.into_inner().message().await?;
        match read(answer.map(|answer| answer.body))? {
            WorkReply::Reads(select) => Ok(select),
            reply => Err(reply.error(request.limits).into()),
        }
    }

    /// Runs a statement, whose tables have the rows `own` besides, and returns the chunks of its encoded answer.
    ///
    /// # Errors
    /// [`ExecutorError::Sql`] is the statement's: [`SqlError::Stale`] is to be planned again.
    /// [`ExecutorError::Unavailable`] is the executor's.
    pub async fn run(
        &self,
        execution: &Execution,
        own: Vec<OwnRows>,
    ) -> Result<impl Stream<Item = Result<Bytes, Status>> + Send + use<>, ExecutorError> {
        let limits = execution.limits;
        let command = serde_json::to_vec(execution).expect("a request always has a JSON form");
        let first = FlightData::new().with_descriptor(FlightDescriptor::new_cmd(command));
        let own = own.into_iter().enumerate();
        let rows = own.flat_map(|(table, (schema, batches))| encoded(table, &schema, batches));
        let request = stream::iter(std::iter::once(first).chain(rows));
        let mut answer = self.flight.clone().do_exchange(request).await?.into_inner();
        let first = answer.message().await?;
        match read(first.map(|first| first.app_metadata))? {
            WorkReply::Answer => Ok(chunks(answer)),
            reply => Err(reply.error(limits).into()),
        }
    }
}

/// The rows of the table number `table`, as the bytes of an Arrow IPC stream.
fn encoded(
    table: usize,
    schema: &SchemaRef,
    batches: Vec<RecordBatch>,
) -> impl Iterator<Item = FlightData> + Send + use<> {
    let memory = "memory takes everything";
    let mut writer = Some(StreamWriter::try_new(Vec::new(), schema).expect(memory));
    let mut batches = batches.into_iter();
    iter::from_fn(move || {
        let open = writer.as_mut()?;
        let batch = batches.next();
        match &batch {
            Some(batch) => open.write(batch).expect(memory),
            None => open.finish().expect(memory),
        }
        let body = mem::take(open.get_mut());
        if batch.is_none() {
            writer = None;
        }
        Some(FlightData {
            app_metadata: table.to_string().into(),
            data_body: body.into(),
            ..FlightData::default()
        })
    })
}

/// The chunks of an answer, which ends with an empty one.
fn chunks(
    answer: Streaming<FlightData>,
) -> impl Stream<Item = Result<Bytes, Status>> + Send + 'static {
    stream::try_unfold(answer, async |mut answer| {
        let chunk = answer.message().await?;
        let chunk = chunk.ok_or_else(|| Status::aborted("the answer was cut off"))?;
        let body = chunk.data_body;
        Ok((!body.is_empty()).then_some((body, answer)))
    })
}

fn read(json: Option<Bytes>) -> Result<WorkReply, ExecutorError> {
    let malformed = |reason: String| ExecutorError::Unavailable(format!("its answer: {reason}"));
    let json = json.ok_or_else(|| malformed("it is empty".to_owned()))?;
    let Reply(reply) =
        serde_json::from_slice(&json).map_err(|error| malformed(error.to_string()))?;
    Ok(reply)
}

impl From<Status> for ExecutorError {
    fn from(status: Status) -> Self {
        Self::Unavailable(status.message().to_owned())
    }
}
