//! A background client that posts and reads continuously, with retries for a limited time.

use std::time::{Duration, Instant};

use tokio::{task::JoinHandle, time};
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    events::{ids, lines},
};

/// The limit for posting and reading one batch with all retries.
const BATCH_TIMEOUT: Duration = Duration::from_secs(60);
/// The pause between two requests.
const REQUEST_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Load {
    stop: CancellationToken,
    posted: JoinHandle<usize>,
}

impl Load {
    pub(crate) fn start(client: &Client, conversation: &'static str) -> Self {
        let stop = CancellationToken::new();
        let posted = post(client.clone(), conversation, stop.clone());
        Self {
            stop,
            posted: tokio::spawn(posted),
        }
    }

    /// Stops the client and returns the ids of the acknowledged events.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.stop.cancel();
        ids(0..self.posted.await.unwrap())
    }
}

/// Posts and reads until `stop`; returns the number of acknowledged events.
async fn post(client: Client, conversation: &str, stop: CancellationToken) -> usize {
    let (mut posted, mut interval) = (0, time::interval(REQUEST_INTERVAL));
    interval.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        interval.tick().await;
        let batch = lines(conversation, posted..posted + 5);
        let started = Instant::now();
        while !client.try_post(&batch).await {
            assert!(
                started.elapsed() < BATCH_TIMEOUT,
                "a batch is not acknowledged"
            );
            interval.tick().await;
        }
        posted += 5;
        while client.read(conversation).await.is_none() {
            assert!(started.elapsed() < BATCH_TIMEOUT, "no answer to a read");
            interval.tick().await;
        }
    }
    posted
}
