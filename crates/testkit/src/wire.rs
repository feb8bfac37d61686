//! Just enough of each protocol to check that a server is up, without a client library.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// For one request and its answer, from a server on this machine.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends `request` and returns the first bytes of the answer (at most 64 KiB); `None` when there is
/// no answer.
pub(crate) async fn request(port: u16, request: &str) -> Option<String> {
    timeout(REQUEST_TIMEOUT, exchange(port, request))
        .await
        .ok()?
        .ok()
}

/// Sends `request` and reads until the answer contains `end`; `None` when it never does.
pub(crate) async fn request_until(port: u16, request: &str, end: &str) -> Option<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        while !answer.contains(end) {
            let mut bytes = [0; 4096];
            let length = stream
                .read(&mut bytes)
                .await
                .ok()
                .filter(|length| *length > 0)?;
            answer.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        Some(answer)
    };
    timeout(REQUEST_TIMEOUT, exchange).await.ok()?
}

async fn exchange(port: u16, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![0; 64 * 1024];
    let length = stream.read(&mut answer).await?;
    answer.truncate(length);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Returns whether an HTTP request without a body is answered with 200.
pub(crate) async fn http_ok(port: u16, method: &str, path: &str) -> bool {
    let text = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: 0\r\n\
         connection: close\r\n\r\n"
    );
    request(port, &text)
        .await
        .is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
