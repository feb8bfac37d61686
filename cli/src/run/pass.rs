//! The program's output on its way to our own: passed on first, then handed to be kept.

use std::{
    io::{self, Read, Write},
    process::Child,
    thread,
};

use event::Timestamp;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::chunks::MAX_BYTES;

/// Reads in memory, at most 64 MiB. When ingest is away for longer than that, the program waits.
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

#[derive(Debug)]
pub(super) struct Output {
    pub(super) channel: Channel,
    /// Empty at the end of the channel.
    pub(super) bytes: Vec<u8>,
    pub(super) at: Timestamp,
}

/// Passes both channels of `child` through, each on a thread of its own.
pub(super) fn through(child: &mut Child) -> Receiver<Output> {
    let (sender, reads) = mpsc::channel(QUEUED_READS);
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let other = sender.clone();
    thread::spawn(move || pump(stdout, io::stdout(), Channel::Stdout, &sender));
    thread::spawn(move || pump(stderr, io::stderr(), Channel::Stderr, &other));
    reads
}

/// Until the end of `from`, or until nobody reads our own output any more: then the program gets
/// the same answer, a closed pipe.
fn pump(mut from: impl Read, mut to: impl Write, channel: Channel, reads: &Sender<Output>) {
    let mut buffer = vec![0; MAX_BYTES];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => 0,
        };
        let at = Timestamp::now();
        let bytes = buffer[..length].to_vec();
        let passed = to.write_all(&bytes).and_then(|()| to.flush());
        let last = length == 0 || passed.is_err();
        if reads.blocking_send(Output { channel, bytes, at }).is_err() || last {
            return;
        }
    }
}
