//! Problem documents for requests that hyper cannot parse: it answers such a request by itself, without
//! a body.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::http::StatusCode;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::problem::problem;

/// A connection that passes all bytes on, except that it replaces the response that hyper writes before
/// any request was parsed.
pub(super) struct Socket {
    inner: TokioIo<TcpStream>,
    /// Set with the first parsed request; from then on responses come from our handlers.
    head_parsed: Arc<AtomicBool>,
    /// The replacement response, and how many of its bytes are written.
    replacement: Option<(Vec<u8>, usize)>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, head_parsed: Arc<AtomicBool>) -> Self {
        Self {
            inner: TokioIo::new(stream),
            head_parsed,
            replacement: None,
        }
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
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.head_parsed.load(Ordering::Relaxed) || buffer.starts_with(b"HTTP/1.1 100") {
            return Pin::new(&mut self.inner).poll_write(context, buffer);
        }
        self.write_problem(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.head_parsed.load(Ordering::Relaxed) {
            return Pin::new(&mut self.inner).poll_write_vectored(context, buffers);
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
