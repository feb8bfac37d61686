//! Delivery of chunks to ingest, in order; all events that wait are sent in one request.

use std::time::Duration;

use event::Timestamp;
use tokio::{
    sync::mpsc::{self, Receiver},
    task::JoinHandle,
};

use super::{
    chunks::Chunker,
    events::RunEvents,
    passthrough::{Channel, OutputRead},
};
use crate::sender::{BATCH_EVENTS, Sender, batches};

/// Events that may wait in memory beside the request in flight.
const QUEUED_EVENTS: usize = BATCH_EVENTS;

/// Queue to the task that sends to ingest, in order.
#[derive(Debug)]
pub(super) struct Delivery {
    queue: mpsc::Sender<String>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// Starts the task that sends to ingest.
pub(super) fn start(sender: Sender) -> Delivery {
    let (queue, waiting) = mpsc::channel(QUEUED_EVENTS);
    let task = tokio::spawn(deliver(sender, waiting));
    Delivery { queue, task }
}

impl Delivery {
    /// Queues an event; waits while the queue is full. An error of the delivery is returned by
    /// [`Self::finish`].
    pub(super) async fn push(&mut self, line: String) {
        let _ = self.queue.send(line).await;
    }

    /// Waits until every queued event is stored, or the delivery has failed.
    pub(super) async fn finish(self) -> anyhow::Result<()> {
        drop(self.queue);
        self.task.await?
    }
}

async fn deliver(sender: Sender, mut waiting: Receiver<String>) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    while waiting.recv_many(&mut lines, BATCH_EVENTS).await > 0 {
        for batch in batches(&lines) {
            sender.send(batch).await?;
        }
        lines.clear();
    }
    Ok(())
}

/// Cuts the output into events and queues them, until both channels have ended.
pub(super) async fn chunks(
    reads: &mut Receiver<OutputRead>,
    events: &mut RunEvents,
    delivery: &mut Delivery,
) {
    let mut open = [
        (Channel::Stdout, Chunker::default()),
        (Channel::Stderr, Chunker::default()),
    ];
    loop {
        let due = open.iter().filter_map(|(_, chunker)| chunker.due()).min();
        let read = tokio::select! {
            biased;
            () = until(due) => None,
            read = reads.recv() => match read {
                Some(read) => Some(read),
                None => break,
            },
        };
        let now = Timestamp::now();
        let mut lines = Vec::new();
        for (channel, chunker) in &mut open {
            lines.extend(
                chunker
                    .tick(now)
                    .map(|chunk| events.output(*channel, &chunk)),
            );
            if let Some(read) = read.as_ref().filter(|read| read.channel == *channel) {
                let chunks = chunker.push(&read.bytes, read.at);
                lines.extend(chunks.iter().map(|chunk| events.output(*channel, chunk)));
            }
        }
        for line in lines {
            delivery.push(line).await;
        }
    }
    for (channel, mut chunker) in open {
        if let Some(chunk) = chunker.finish(Timestamp::now()) {
            delivery.push(events.output(channel, &chunk)).await;
        }
    }
}

async fn until(due: Option<Timestamp>) {
    match due {
        Some(due) => {
            tokio::time::sleep(due.since(Timestamp::now()).max(Duration::from_millis(1))).await
        }
        None => std::future::pending().await,
    }
}
