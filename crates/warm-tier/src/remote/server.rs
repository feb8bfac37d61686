//! The server in the compactor: Arrow Flight over sealed slices.

use std::{future::Future, pin::Pin, sync::Arc};

use arrow::record_batch::RecordBatch;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
    encode::FlightDataEncoderBuilder,
    error::FlightError,
    flight_service_server::{FlightService, FlightServiceServer},
};
use bytes::Bytes;
use event::SeqRange;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::server::TcpIncoming};

use super::{CHECK_ACTION, COVERAGE_ACTION, DUPLICATES_ACTION};
use crate::{
    coverage::Coverage,
    duplicates::DuplicatesRequest,
    error::{Error, Result},
    open_files::RunFiles,
    scan::Scanner,
    scan_request::{CheckRequest, Scan},
    scan_sql,
};

/// Most scans at a time; further ones wait. No reason but to bound memory and threads.
const MAX_SCANS: usize = 16;
/// Most batches that a scan buffers for its reader, besides the one that it has and the one that is sent. A batch
/// has at most 4.5 MiB of content and metadata, so that all scans hold 216 MiB.
const MAX_BUFFERED_BATCHES: usize = 1;

/// The Arrow Flight service with scans, coverage and duplicates.
#[derive(Clone, Debug)]
pub struct Server {
    scanner: Scanner,
    store: Option<String>,
    permits: Arc<Semaphore>,
}

impl Server {
    /// Creates the service over `scanner`, of the store with the id `store`.
    #[must_use]
    pub fn new(scanner: Scanner, store: Option<String>) -> Self {
        Self {
            scanner,
            store,
            permits: Arc::new(Semaphore::new(MAX_SCANS)),
        }
    }

    /// Serves on `listener` until `shutdown` is done; running scans are cut off.
    ///
    /// # Errors
    /// [`Error::Remote`] when the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<()> {
        // The setting of the builder is for listeners of its own.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = tonic::transport::Server::builder()
            .add_service(FlightServiceServer::new(self))
            .serve_with_incoming(incoming);
        tokio::select! {
            () = shutdown => Ok(()),
            ended = serving => ended.map_err(|error| Error::Remote(error.to_string())),
        }
    }

    /// Runs `scan` on a blocking thread, which holds `permit`. Returns the files that have some of its rows, and
    /// streams the batches of the others.
    async fn start_scan(
        &self,
        scan: Scan,
        permit: OwnedSemaphorePermit,
    ) -> (Vec<RunFiles>, ReceiverStream<ScanItem>) {
        let (batches, receiver) = mpsc::channel(MAX_BUFFERED_BATCHES);
        let (files, on_files) = oneshot::channel();
        let scanner = self.scanner.clone();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let result = scanner.scan_beside_files(
                &scan,
                // Fails when the reader is gone.
                |own| drop(files.send(own)),
                |batch| batches.blocking_send(Ok(batch)).is_ok(),
            );
            if let Err(error) = result {
                // Fails when the reader has closed the stream, which needs no error then.
                let _ = batches.blocking_send(Err(error));
            }
        });
        // A scan that cannot be planned has none, and its error is the first item.
        let files = on_files.await.unwrap_or_default();
        (files, ReceiverStream::new(receiver))
    }

    async fn coverage(&self) -> Result<Vec<u8>, Status> {
        let scanner = self.scanner.clone();
        let coverage = tokio::task::spawn_blocking(move || scanner.coverage()).await;
        let coverage = Coverage {
            store: self.store.clone(),
            ..coverage.map_err(|error| Status::internal(error.to_string()))?
        };
        Ok(serde_json::to_vec(&coverage).expect("a coverage always has a JSON form"))
    }

    /// Runs like a scan: on a blocking thread, with a permit.
    async fn check(&self, request: &[u8]) -> Result<Vec<u8>, Status> {
        let CheckRequest { partition, lo, hi } = serde_json::from_slice(request)
            .map_err(|error| Status::invalid_argument(format!("request: {error}")))?;
        let range = SeqRange::new(lo, hi)
            .ok_or_else(|| Status::invalid_argument("request: an empty range"))?;
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let scanner = self.scanner.clone();
        let check = move || {
            // Held until it is done, also when the client is gone.
            let _permit = permit;
            scanner.check(partition, range)
        };
        let damaged = tokio::task::spawn_blocking(check).await;
        let damaged = damaged.map_err(|error| Status::internal(error.to_string()))??;
        Ok(serde_json::to_vec(&damaged).expect("a number always has a JSON form"))
    }

    fn duplicates(&self, request: &[u8]) -> Result<Vec<u8>, Status> {
        let DuplicatesRequest { partition, after } = serde_json::from_slice(request)
            .map_err(|error| Status::invalid_argument(format!("request: {error}")))?;
        let duplicates = self.scanner.duplicates(partition, after)?;
        Ok(serde_json::to_vec(&duplicates).expect("duplicates always have a JSON form"))
    }
}

type ScanItem = Result<RecordBatch>;
type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type RpcResult<T> = Result<Response<T>, Status>;

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::NotCovered { .. } => Self::failed_precondition(message),
            Error::Invalid(_) => Self::invalid_argument(message),
            Error::Unavailable(_) => Self::unavailable(message),
            _ => Self::internal(message),
        }
    }
}

#[tonic::async_trait]
impl FlightService for Server {
    type HandshakeStream = ResponseStream<HandshakeResponse>;
    type ListFlightsStream = ResponseStream<FlightInfo>;
    type DoGetStream = ResponseStream<FlightData>;
    type DoPutStream = ResponseStream<PutResult>;
    type DoActionStream = ResponseStream<arrow_flight::Result>;
    type ListActionsStream = ResponseStream<ActionType>;
    type DoExchangeStream = ResponseStream<FlightData>;

    async fn do_get(&self, request: Request<Ticket>) -> RpcResult<Self::DoGetStream> {
        let scan: Scan = serde_json::from_slice(&request.into_inner().ticket)
            .map_err(|error| Status::invalid_argument(format!("ticket: {error}")))?;
        let schema = scan_sql::schema(&scan)?;
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let (files, batches) = self.start_scan(scan, permit).await;
        let mut batches = batches.peekable();
        // An error before the first batch becomes the status of the call.
        if let Some(Err(_)) = Pin::new(&mut batches).peek().await
            && let Some(Err(error)) = batches.next().await
        {
            return Err(error.into());
        }
        let batches = batches.map_err(|error| FlightError::Tonic(Box::new(error.into())));
        let data = FlightDataEncoderBuilder::new()
            .with_schema(schema)
            .with_metadata(files_metadata(&files))
            .build(batches);
        Ok(Response::new(data.map_err(Status::from).boxed()))
    }

    async fn do_action(&self, request: Request<Action>) -> RpcResult<Self::DoActionStream> {
        let Action { r#type, body } = request.into_inner();
        let json = match &*r#type {
            COVERAGE_ACTION => self.coverage().await?,
            DUPLICATES_ACTION => self.duplicates(&body)?,
            CHECK_ACTION => self.check(&body).await?,
            action => {
                let message = format!("there is no action {action:?}");
                return Err(Status::invalid_argument(message));
            }
        };
        let answer = arrow_flight::Result { body: json.into() };
        Ok(Response::new(futures::stream::iter([Ok(answer)]).boxed()))
    }

    async fn list_actions(&self, _: Request<Empty>) -> RpcResult<Self::ListActionsStream> {
        let actions = [
            (
                COVERAGE_ACTION,
                "sealed ranges and gaps of every partition, as JSON",
            ),
            (
                DUPLICATES_ACTION,
                "duplicates in the log of one partition, as JSON",
            ),
            (
                CHECK_ACTION,
                "check the slices of a range in which a row is wrong",
            ),
        ];
        let actions = actions.map(|(name, description)| {
            Ok(ActionType {
                r#type: name.to_owned(),
                description: description.to_owned(),
            })
        });
        Ok(Response::new(futures::stream::iter(actions).boxed()))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> RpcResult<Self::HandshakeStream> {
        Err(unsupported())
    }

    async fn list_flights(&self, _: Request<Criteria>) -> RpcResult<Self::ListFlightsStream> {
        Err(unsupported())
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> RpcResult<FlightInfo> {
        Err(unsupported())
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> RpcResult<PollInfo> {
        Err(unsupported())
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> RpcResult<SchemaResult> {
        Err(unsupported())
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> RpcResult<Self::DoPutStream> {
        Err(unsupported())
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> RpcResult<Self::DoExchangeStream> {
        Err(unsupported())
    }
}

/// The metadata of the first message of a scan: nothing, or its files as JSON.
fn files_metadata(files: &[RunFiles]) -> Bytes {
    match files.is_empty() {
        true => Bytes::new(),
        false => serde_json::to_vec(files)
            .expect("files always have a JSON form")
            .into(),
    }
}

fn unsupported() -> Status {
    Status::unimplemented(
        "this server has scans (DoGet) and the actions coverage, repeats and check",
    )
}
