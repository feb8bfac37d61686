//! Serving HTTP, with bounds that a slow or silent client cannot stretch.

mod socket;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use axum::{
    Router,
    http::{HeaderName, HeaderValue},
};
use hyper::{
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioTimer, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::socket::Socket;

/// How long a client may take for the head of a request, and be silent between two. Shorter than
/// a service may drain.
const HEAD: Duration = Duration::from_secs(15);
/// What clients are told of it, a second less: one that minds it does not send into a connection
/// that is just being closed.
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const TOLD: HeaderValue = HeaderValue::from_static("timeout=14");
/// How long a first request may still take to arrive when the service stops.
const LAST_CALL: Duration = Duration::from_millis(500);
/// Connections at the same time; more wait to be taken.
const MAX_CONNECTIONS: usize = 16 * 1024;
/// What happens on a lack of file descriptors passes.
const PAUSE: Duration = Duration::from_millis(500);

/// Serves `router` until `shutdown`; then takes nothing new and lets requests end.
///
/// The bounds on bodies are for the handlers to hold: only they know what is long.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, accept(&listener).await.0)
        };
        let (place, stream) = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            next = next => next,
        };
        let serving = connection(stream, router.clone(), shutdown.clone());
        connections.spawn(async move {
            serving.await;
            drop(place);
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
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "will take connections again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

async fn connection(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    // Answers and events are written whole: waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let understood = Arc::new(AtomicBool::new(false));
    let socket = Socket::new(stream, Arc::clone(&understood));
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        understood.store(true, Ordering::Relaxed);
        let answer = router.call(request);
        async {
            let mut response = answer.await?;
            response.headers_mut().insert(KEEP_ALIVE, TOLD);
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
            let last = tokio::time::timeout(LAST_CALL, serving.as_mut()).await;
            if last.is_ok() || !understood.load(Ordering::Relaxed) {
                return;
            }
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
