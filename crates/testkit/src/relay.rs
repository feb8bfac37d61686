//! A relay between a program and a server, which loses what a test wants to be lost.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// What a relay loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// What the program sends.
    Requests,
    /// What the server sends.
    Answers,
}

/// A relay to a server on this machine. Its connections stay open while it loses what goes through them.
#[derive(Debug)]
pub struct Relay {
    /// Its own port.
    pub port: u16,
    shared: Arc<Shared>,
    cuts: watch::Sender<()>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared(Mutex<Option<Losing>>);

#[derive(Debug)]
struct Losing {
    loss: Loss,
    /// It begins with the first request that contains these bytes.
    needle: Vec<u8>,
    /// The requests with these bytes.
    seen: usize,
}

impl Relay {
    /// Starts a relay to the server at `server_port`, which loses nothing.
    pub async fn start(server_port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let (cuts, cut) = watch::channel(());
        let accepting = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                loop {
                    let (client, _) = listener.accept().await.unwrap();
                    let relay = relay(client, server_port, Arc::clone(&shared), cut.clone());
                    tokio::spawn(relay);
                }
            }
        });
        Self {
            port,
            shared,
            cuts,
            accepting,
        }
    }

    /// Loses the first request that contains `needle` and all behind it, or the answers from there on.
    pub fn lose(&self, loss: Loss, needle: &str) {
        *self.shared.0.lock().unwrap() = Some(Losing {
            loss,
            needle: needle.as_bytes().to_vec(),
            seen: 0,
        });
    }

    /// The number of requests with the needle that came.
    #[must_use]
    pub fn seen(&self) -> usize {
        let losing = self.shared.0.lock().unwrap();
        losing.as_ref().map_or(0, |losing| losing.seen)
    }

    /// Ends all connections, and loses nothing from here on.
    pub fn cut(&self) {
        *self.shared.0.lock().unwrap() = None;
        self.cuts.send_replace(());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    /// Whether a request goes on to the server.
    fn passes_request(&self, bytes: &[u8]) -> bool {
        let mut losing = self.0.lock().unwrap();
        let Some(losing) = losing.as_mut() else {
            return true;
        };
        let mut windows = bytes.windows(losing.needle.len());
        losing.seen += usize::from(windows.any(|window| window == losing.needle));
        losing.seen == 0 || losing.loss != Loss::Requests
    }

    /// Whether an answer goes on to the program.
    fn passes_answer(&self) -> bool {
        let losing = self.0.lock().unwrap();
        let losing = losing.as_ref().filter(|losing| losing.seen > 0);
        losing.is_none_or(|losing| losing.loss != Loss::Answers)
    }
}

async fn relay(client: TcpStream, port: u16, shared: Arc<Shared>, mut cut: watch::Receiver<()>) {
    cut.mark_unchanged();
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, |bytes| shared.passes_request(bytes)) => {}
        () = copy(from_server, to_client, |_| shared.passes_answer()) => {}
        _ = cut.changed() => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, passes: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..length];
        if passes(bytes) && to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
