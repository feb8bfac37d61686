//! Just enough of each protocol to see that a server is up, without a client library.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const LIMIT: Duration = Duration::from_secs(5);

/// Sends `request` and returns what comes back at first, or nothing when nobody answers.
pub(crate) async fn ask(port: u16, request: &str) -> Option<String> {
    timeout(LIMIT, exchange(port, request)).await.ok()?.ok()
}

async fn exchange(port: u16, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![0; 64 * 1024];
    let length = stream.read(&mut answer).await?;
    answer.truncate(length);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Whether an HTTP request without a body is answered by 200.
pub(crate) async fn http_ok(port: u16, method: &str, path: &str) -> bool {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: 0\r\n\
         connection: close\r\n\r\n"
    );
    ask(port, &request)
        .await
        .is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
