//! Passes the program's output through: each read is written to our own stdout or stderr first, then
//! queued for storage.

use std::{
    io::{self, Read, Write},
    process::Child,
    thread,
};

use event::Timestamp;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::chunks::MAX_CHUNK_BYTES;

/// Reads that may wait in memory: 4096 of at most 16 KiB are 64 MiB. When ingest is away for longer, the
/// program blocks on its output.
const QUEUED_READS: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Stdout,
    Stderr,
}

impl Channel {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One read of the program's output.
#[derive(Debug)]
pub(super) struct OutputRead {
    pub(super) channel: Channel,
    /// Empty at the end of the channel.
    pub(super) bytes: Vec<u8>,
    pub(super) at: Timestamp,
}

/// Passes both channels of `child` through, each on a thread of its own, and returns the reads.
pub(super) fn start(child: &mut Child) -> Receiver<OutputRead> {
    let (sender, reads) = mpsc::channel(QUEUED_READS);
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let second_sender = sender.clone();
    thread::spawn(move || copy(stdout, io::stdout(), Channel::Stdout, &sender));
    thread::spawn(move || copy(stderr, io::stderr(), Channel::Stderr, &second_sender));
    reads
}

/// Copies until the end of `from`, or until our own output is closed: then `from` is closed too, and
/// the program gets the same error as without us.
fn copy(mut from: impl Read, mut to: impl Write, channel: Channel, reads: &Sender<OutputRead>) {
    let mut buffer = vec![0; MAX_CHUNK_BYTES];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => 0,
        };
        let at = Timestamp::now();
        let bytes = buffer[..length].to_vec();
        let written = to.write_all(&bytes).and_then(|()| to.flush());
        let last = length == 0 || written.is_err();
        if reads
            .blocking_send(OutputRead { channel, bytes, at })
            .is_err()
            || last
        {
            return;
        }
    }
}
