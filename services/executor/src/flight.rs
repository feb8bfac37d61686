//! The server: Arrow Flight, as `warm_tier::sql::remote` says.

use std::{io, pin::Pin};

use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
    flight_service_server::{FlightService, FlightServiceServer},
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, transport::server::TcpIncoming};
use warm_tier::sql::remote::{Execution, PARSE_ACTION, ParseRequest, Reply};

use crate::statement::{Answer, OwnRows, Statements};

/// Messages of rows that wait for the process that reads them.
const QUEUED_MESSAGES: usize = 1;
/// Most bytes of a message: a batch of rows.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The Arrow Flight service.
pub(crate) struct Server {
    statements: Statements,
}

impl Server {
    pub(crate) fn new(statements: Statements) -> Self {
        Self { statements }
    }

    /// Serves on `listener` until the shutdown; running statements are cut off.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let service = FlightServiceServer::new(self).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming);
        match shutdown.run_until_cancelled(serving).await {
            Some(ended) => Ok(ended?),
            None => Ok(()),
        }
    }
}

/// The rows that come with the request, by table. They are passed on while the statement reads them, table by
/// table.
fn own_rows(tables: usize, request: Streaming<FlightData>) -> OwnRows {
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..tables).map(|_| mpsc::channel(QUEUED_MESSAGES)).unzip();
    tokio::spawn(pass_on(request, senders));
    receivers
}

async fn pass_on(
    mut request: Streaming<FlightData>,
    mut tables: Vec<mpsc::Sender<io::Result<Bytes>>>,
) {
    let mut table = 0;
    loop {
        let message = match request.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(error) => {
                for table in &tables {
                    // Nobody may wait for it any more.
                    let _ = table.send(Err(io::Error::other(error.to_string()))).await;
                }
                return;
            }
        };
        let number = std::str::from_utf8(&message.app_metadata);
        let number = number.ok().and_then(|number| number.parse::<usize>().ok());
        // The tables before it are complete.
        while number.is_some_and(|number| number > table) && !tables.is_empty() {
            tables.remove(0);
            table += 1;
        }
        let Some(rows) = tables.first() else { return };
        if rows.send(Ok(message.data_body)).await.is_err() {
            return;
        }
    }
}

fn chunks(answer: Answer) -> impl Stream<Item = Result<FlightData, Status>> {
    let data = |body: Bytes| FlightData {
        data_body: body,
        ..FlightData::default()
    };
    let chunks = stream::unfold(answer, Answer::next);
    let chunks = chunks.map(move |chunk| match chunk {
        Ok(body) => Ok(data(body)),
        Err(error) => Err(Status::aborted(error.to_string())),
    });
    chunks.chain(stream::once(async { Ok(FlightData::default()) }))
}

fn json(value: &impl serde::Serialize) -> Bytes {
    let json = serde_json::to_vec(value);
    json.expect("an answer always has a JSON form").into()
}

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type RpcResult<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl FlightService for Server {
    type HandshakeStream = ResponseStream<HandshakeResponse>;
    type ListFlightsStream = ResponseStream<FlightInfo>;
    type DoGetStream = ResponseStream<FlightData>;
    type DoPutStream = ResponseStream<PutResult>;
    type DoActionStream = ResponseStream<arrow_flight::Result>;
    type ListActionsStream = ResponseStream<ActionType>;
    type DoExchangeStream = ResponseStream<FlightData>;

    async fn do_action(&self, request: Request<Action>) -> RpcResult<Self::DoActionStream> {
        let Action { r#type, body } = request.into_inner();
        if r#type != PARSE_ACTION {
            let message = format!("there is no action {:?}", r#type);
            return Err(Status::invalid_argument(message));
        }
        let request: ParseRequest = serde_json::from_slice(&body)
            .map_err(|error| Status::invalid_argument(format!("request: {error}")))?;
        let parsed = Reply::parsed(self.statements.parse(request).await);
        let answer = arrow_flight::Result {
            body: json(&parsed),
        };
        Ok(Response::new(stream::iter([Ok(answer)]).boxed()))
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> RpcResult<Self::DoExchangeStream> {
        let malformed = |reason: String| Status::invalid_argument(format!("request: {reason}"));
        let mut request = request.into_inner();
        let first = request.message().await?;
        let command = first.and_then(|first| first.flight_descriptor);
        let command = command.ok_or_else(|| malformed("it has no descriptor".to_owned()))?;
        let execution: Execution =
            serde_json::from_slice(&command.cmd).map_err(|error| malformed(error.to_string()))?;
        let own = own_rows(execution.tables.len(), request);
        let (outcome, answer) = match self.statements.run(execution, own).await {
            Ok(answer) => (Ok(()), Some(answer)),
            Err(error) => (Err(error), None),
        };
        let first = FlightData {
            app_metadata: json(&Reply::run(outcome)),
            ..FlightData::default()
        };
        let rest = stream::iter(answer).flat_map(chunks);
        let all = stream::once(async { Ok(first) }).chain(rest);
        Ok(Response::new(all.boxed()))
    }

    async fn list_actions(&self, _: Request<Empty>) -> RpcResult<Self::ListActionsStream> {
        let parse = ActionType {
            r#type: PARSE_ACTION.to_owned(),
            description: "what a statement reads, as JSON".to_owned(),
        };
        Ok(Response::new(stream::iter([Ok(parse)]).boxed()))
    }

    async fn do_get(&self, _: Request<Ticket>) -> RpcResult<Self::DoGetStream> {
        Err(unsupported())
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
}

fn unsupported() -> Status {
    Status::unimplemented("this server parses statements (DoAction) and runs them (DoExchange)")
}
