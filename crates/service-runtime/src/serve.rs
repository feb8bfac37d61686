//! The HTTP server, with timeouts and limits that a slow or silent client cannot exceed.

pub(crate) mod access;
mod head;
pub(crate) mod pace;
mod socket;

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    http::{HeaderName, HeaderValue},
    middleware,
};
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioTimer, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    access::{Access, AccessArgs},
    head::{Answer, Head, MAX_HEAD_BYTES, large_heads},
    pace::Pace,
    socket::Socket,
};
use crate::memory_pool::MemoryPressure;

/// The longest that a client may take to send the head of a request, or leave the connection idle
/// between two. Shorter than the default shutdown grace of 20 s, so that idle connections do not delay
/// a stop.
const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(15);
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// One second less than [`HEAD_READ_TIMEOUT`], so that a client that heeds it does not send into a
/// connection that is being closed.
const KEEP_ALIVE_TIMEOUT: HeaderValue = HeaderValue::from_static("timeout=14");
/// The longest that a stop waits for the first request of a connection that has sent none.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(500);
/// Connections served at the same time; more wait in the listen queue. No reason for the number but to
/// bound memory.
const MAX_CONNECTIONS: usize = 16 * 1024;
/// The pause after an accept that failed for a transient reason, such as a lack of file descriptors.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The address of the peer of a request's connection: an extension of every request that [`serve`] passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientAddr(pub IpAddr);

/// Serves `router` until `shutdown` is cancelled; then accepts no more connections and waits for the
/// requests under way. `access` names the clients in browsers that are answered; a client that is slow to take its
/// answer is cut off, sooner under memory `pressure`.
///
/// Limits on bodies are up to the handlers, which know what size and duration is normal.
///
/// # Errors
/// The listener has no address. A failed accept is retried, and a failed connection is logged at debug
/// level.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    access: AccessArgs,
    pressure: MemoryPressure,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let access = Access::new(access, listener.local_addr()?.ip());
    let router = router.layer(middleware::from_fn_with_state(access, access::check));
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let large_heads = large_heads();
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, accept(&listener).await)
        };
        let (permit, (stream, peer)) = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            next = next => next,
        };
        let head = Arc::new(Head::default());
        let pace = Pace::new(pressure.clone());
        let socket = Socket::new(stream, Arc::clone(&head), Arc::clone(&large_heads), pace);
        let client = ClientAddr(peer.ip());
        let serving = connection(socket, head, client, router.clone(), shutdown.clone());
        connections.spawn(async move {
            serving.await;
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_client_error(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accept failed, will retry");
                tokio::time::sleep(ACCEPT_RETRY_PAUSE).await;
            }
        }
    }
}

/// Whether the client gave up before its connection was accepted.
fn is_client_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

async fn connection(
    socket: Socket,
    head: Arc<Head>,
    client: ClientAddr,
    router: Router,
    shutdown: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES);
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        head.parsed();
        let answer = |body| Answer::new(body, Arc::clone(&head));
        request.extensions_mut().insert(client);
        let response = router.call(request);
        async move {
            let mut response = response.await?.map(answer);
            response
                .headers_mut()
                .insert(KEEP_ALIVE, KEEP_ALIVE_TIMEOUT);
            Ok::<_, Infallible>(response)
        }
    });
    let serving = http.serve_connection(socket, service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        biased;
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            let graced = tokio::time::timeout(FIRST_REQUEST_GRACE, serving.as_mut()).await;
            if graced.is_ok() || !head.any_parsed() {
                return;
            }
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
