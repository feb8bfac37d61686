//! The admin server: liveness, readiness and metrics on their own port.
//!
//! Liveness says that the process serves, readiness that it should get traffic. They share no check.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::RawQuery,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{memory_pool::MemoryPressure, net, readiness::Readiness, serve::access::AccessArgs};

/// The flag for the admin server's address.
#[derive(Debug, Clone, clap::Args)]
pub struct AdminArgs {
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "ISOTHERM_ADMIN_ADDR", default_value = "0.0.0.0:9090")]
    pub admin_addr: SocketAddr,
}

/// The running admin server.
#[derive(Debug)]
pub(crate) struct Server {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

/// Binds the port and starts to serve. Not a task of [`crate::tasks::Tasks`], because it has to outlive
/// them all.
pub(crate) async fn start(
    args: &AdminArgs,
    registry: Registry,
    readiness: Readiness,
    access: AccessArgs,
) -> anyhow::Result<Server> {
    let listener = net::bind("admin server", args.admin_addr).await?;
    let addr = listener.local_addr()?;
    let task = tokio::spawn(serve(listener, router(registry, readiness), access));
    Ok(Server { addr, task })
}

async fn serve(listener: TcpListener, router: Router, access: AccessArgs) {
    // Never cancelled: the server ends when its task is aborted.
    let never = CancellationToken::new();
    if let Err(error) =
        crate::serve::serve(listener, router, access, MemoryPressure::default(), never).await
    {
        tracing::error!(%error, "admin server ended");
    }
}

fn router(registry: Registry, readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move |query: RawQuery| async move { readyz(&readiness, &query) }),
        )
        .route("/metrics", get(move || async move { scrape(&registry) }))
}

/// The status of the process; with the report when the query asks for it or the process is not ready.
fn readyz(readiness: &Readiness, RawQuery(query): &RawQuery) -> (StatusCode, String) {
    let verbose = query.as_deref().is_some_and(|query| {
        query
            .split('&')
            .any(|pair| pair == "verbose" || pair.starts_with("verbose="))
    });
    match readiness.report() {
        (true, report) if verbose => (StatusCode::OK, report),
        (true, _) => (StatusCode::OK, "ok\n".into()),
        (false, report) => (StatusCode::SERVICE_UNAVAILABLE, report),
    }
}

fn scrape(registry: &Registry) -> impl IntoResponse + use<> {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics not encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    #[tokio::test]
    async fn liveness_readiness_and_metrics_are_answered() {
        let readiness = Readiness::default();
        let registry = crate::metrics::process_registry("demo").unwrap();
        let args = AdminArgs {
            admin_addr: ([127, 0, 0, 1], 0).into(),
        };
        let access = AccessArgs::default();
        let server = start(&args, registry, readiness.clone(), access)
            .await
            .unwrap();

        assert!(get(&server, "/livez").await.starts_with("HTTP/1.1 200"));
        let starting = get(&server, "/readyz").await;
        assert!(starting.starts_with("HTTP/1.1 503"), "{starting}");
        assert!(starting.contains("[-]started failed"), "{starting}");

        readiness.started();
        readiness.check("nats").set(true, "");
        assert!(get(&server, "/readyz").await.ends_with("\r\n\r\nok\n"));
        let verbose = get(&server, "/readyz?verbose").await;
        assert!(verbose.contains("[+]nats ok"), "{verbose}");

        let metrics = get(&server, "/metrics").await;
        assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
        assert!(metrics.contains("isotherm_build_info{"), "{metrics}");
        assert!(metrics.contains(r#"service="demo""#), "{metrics}");
        assert!(metrics.contains("process_cpu_seconds_total"), "{metrics}");
    }

    #[tokio::test]
    async fn a_name_that_a_web_page_points_at_loopback_gets_no_metrics() {
        let registry = crate::metrics::process_registry("demo").unwrap();
        let args = AdminArgs {
            admin_addr: ([127, 0, 0, 1], 0).into(),
        };
        let access = AccessArgs::default();
        let server = start(&args, registry, Readiness::default(), access);
        let server = server.await.unwrap();
        let answer = get_as(&server, "/metrics", "rebound.example").await;
        assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
        assert!(
            answer.contains("--allowed-host rebound.example"),
            "{answer}"
        );
    }

    async fn get(server: &Server, path: &str) -> String {
        get_as(server, path, "localhost").await
    }

    async fn get_as(server: &Server, path: &str, host: &str) -> String {
        let mut stream = TcpStream::connect(server.addr()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}
