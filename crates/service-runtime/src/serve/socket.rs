//! The socket of a connection: it ends when its client takes too little of an answer for too long, and has
//! problem documents for requests that hyper cannot parse, which hyper answers by itself, without a body.

use std::{
    future::Future as _,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::http::StatusCode;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead as _, ReadBuf},
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, Sleep},
};
use tokio_util::sync::PollSemaphore;

use super::{
    head::{Head, SMALL_HEAD_BYTES},
    pace::Pace,
};
use crate::problem::problem;

/// A connection that passes all bytes on, except that it replaces the response that hyper writes before
/// any request was parsed. A write fails when the client takes too little.
pub(super) struct Socket {
    inner: TokioIo<TcpStream>,
    /// From the first parsed request on responses come from our handlers.
    head: Arc<Head>,
    large_heads: PollSemaphore,
    /// The replacement response, and how many of its bytes are written.
    replacement: Option<(Vec<u8>, usize)>,
    pace: Pace,
    /// Runs while a write waits for the client, until the next look at its pace.
    stall: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    /// A socket that tells `head` what it reads, large heads only within `large_heads`, and whose answers
    /// leave at `pace`.
    pub(super) fn new(
        stream: TcpStream,
        head: Arc<Head>,
        large_heads: Arc<Semaphore>,
        pace: Pace,
    ) -> Self {
        // Responses and events are written whole, so Nagle's algorithm would only delay them.
        let _ = stream.set_nodelay(true);
        Self {
            inner: TokioIo::new(stream),
            head,
            large_heads: PollSemaphore::new(large_heads),
            replacement: None,
            pace,
            stall: None,
        }
    }

    /// Reads more of a head, when it is its turn.
    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head.needs_turn() {
            let turn = ready!(self.large_heads.poll_acquire(context));
            self.head
                .take_turn(turn.expect("the semaphore is never closed"));
        }
        let mut bytes = [0; SMALL_HEAD_BYTES];
        let room = bytes.len().min(buffer.remaining());
        let mut read = ReadBuf::new(&mut bytes[..room]);
        ready!(Pin::new(self.inner.inner_mut()).poll_read(context, &mut read))?;
        self.head.add(read.filled().len());
        buffer.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }

    /// Passes `written` on; an error instead, when writes have waited for too long.
    fn bound_stall(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = &written {
            self.pace.moves(*result.as_ref().unwrap_or(&0));
            self.stall = None;
            return written;
        }
        while let Some(check) = self.pace.next_check(Instant::now()) {
            let timer = || Box::pin(tokio::time::sleep_until(check));
            let stall = self.stall.get_or_insert_with(timer);
            ready!(stall.as_mut().poll(context));
            self.stall = None;
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Writes a problem in place of hyper's response `original`.
    fn write_problem(
        &mut self,
        context: &mut Context<'_>,
        original: &[u8],
    ) -> Poll<io::Result<usize>> {
        let replacement = || (problem_response(original), 0);
        let (bytes, written) = self.replacement.get_or_insert_with(replacement);
        while *written < bytes.len() {
            let write = Pin::new(&mut self.inner).poll_write(context, &bytes[*written..]);
            *written += ready!(write)?;
        }
        Poll::Ready(Ok(original.len()))
    }
}

/// A whole HTTP response: the problem for the status of hyper's response `original`.
fn problem_response(original: &[u8]) -> Vec<u8> {
    let status = original
        .get(9..12)
        .and_then(|text| StatusCode::from_bytes(text).ok());
    let status = status.unwrap_or(StatusCode::BAD_REQUEST);
    let (code, detail) = match status.as_u16() {
        414 => (
            "uri_too_long",
            "the path and the query are too long; make them shorter",
        ),
        431 => (
            "head_too_large",
            "there are too many headers, or too long ones; send fewer",
        ),
        _ => (
            "malformed_request",
            "the head of the request is no HTTP/1.1; look at its first line, its headers and its \
             content-length",
        ),
    };
    let json = Value::Object(problem(status, code, detail)).to_string();
    let length = json.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{json}"
    )
    .into_bytes()
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head.is_open() {
            return self.poll_head(context, buffer);
        }
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.head.any_parsed() || buffer.starts_with(b"HTTP/1.1 100") {
            let written = Pin::new(&mut self.inner).poll_write(context, buffer);
            return self.bound_stall(context, written);
        }
        let written = self.write_problem(context, buffer);
        self.bound_stall(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.head.any_parsed() {
            let written = Pin::new(&mut self.inner).poll_write_vectored(context, buffers);
            return self.bound_stall(context, written);
        }
        let first = buffers.iter().find(|buffer| !buffer.is_empty());
        self.poll_write(context, first.map_or(&[][..], |buffer| buffer))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::{
        io::AsyncReadExt as _,
        net::{TcpListener, TcpSocket},
    };

    use crate::memory_pool::MemoryPressure;

    use super::{
        super::{head::large_heads, pace::MAX_WAIT},
        *,
    };

    /// A socket that has had a request.
    fn socket(stream: TcpStream) -> Socket {
        let head = Arc::new(Head::default());
        head.parsed();
        Socket::new(
            stream,
            head,
            large_heads(),
            Pace::new(MemoryPressure::default()),
        )
    }

    /// A socket that has sent all that its peer takes without reading, and the peer.
    async fn full_socket() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let stream = accepted.unwrap().0;
        while stream.writable().await.is_ok() && stream.try_write(&[0; 65_536]).is_ok() {}
        (socket(stream), peer.unwrap())
    }

    async fn write(socket: &mut Socket) -> io::Result<usize> {
        poll_fn(|context| Pin::new(&mut *socket).poll_write(context, &[0; 65_536])).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut_off() {
        let (mut socket, _peer) = full_socket().await;
        let began = Instant::now();
        let cut_off = async {
            loop {
                if let Err(error) = write(&mut socket).await {
                    break error;
                }
            }
        };
        let error = tokio::time::timeout(4 * MAX_WAIT, cut_off).await;
        let error = error.expect("it is cut off");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= MAX_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_little_is_cut_off_too() {
        // Small buffers, so that what the peer reads lets the next write through.
        let listener = TcpSocket::new_v4().unwrap();
        listener.set_send_buffer_size(16 * 1024).unwrap();
        listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = listener.listen(1).unwrap();
        let client = TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(16 * 1024).unwrap();
        let address = listener.local_addr().unwrap();
        let (peer, accepted) = tokio::join!(client.connect(address), listener.accept());
        let mut socket = socket(accepted.unwrap().0);
        let (mut peer, began) = (peer.unwrap(), Instant::now());
        let read = tokio::spawn(async move {
            let mut buffer = vec![0; 24 * 1024];
            while peer.read_exact(&mut buffer).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        });
        let mut written = 0;
        while let Ok(more) = write(&mut socket).await {
            written += more;
            assert!(began.elapsed() < 10 * MAX_WAIT, "{written} bytes so far");
        }
        assert!(written > 24 * 1024, "it took some");
        drop(socket);
        read.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_reads_again_goes_on() {
        let (mut socket, mut peer) = full_socket().await;
        let read = tokio::spawn(async move {
            let mut buffer = vec![0; 1 << 20];
            while peer.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        });
        for _ in 0..64 {
            write(&mut socket).await.unwrap();
        }
        assert!(socket.stall.is_none());
        drop(socket);
        read.await.unwrap();
    }
}
