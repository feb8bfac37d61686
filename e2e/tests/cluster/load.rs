//! A client that posts and reads all the time, and tries everything again, but not for long.

use std::time::{Duration, Instant};

use tokio::{task::JoinHandle, time};
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    events::{ids, lines},
};

/// How long it goes on with one batch before its user hears of it.
const PATIENCE: Duration = Duration::from_secs(60);
const PACE: Duration = Duration::from_millis(200);

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

    /// The ids of what was acknowledged.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.stop.cancel();
        ids(0..self.posted.await.unwrap())
    }
}

/// How many events were acknowledged until it was stopped.
async fn post(client: Client, conversation: &str, stop: CancellationToken) -> usize {
    let (mut posted, mut pace) = (0, time::interval(PACE));
    pace.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        pace.tick().await;
        let batch = lines(conversation, posted..posted + 5);
        let started = Instant::now();
        while !client.try_post(&batch).await {
            assert!(started.elapsed() < PATIENCE, "a batch is not acknowledged");
            pace.tick().await;
        }
        posted += 5;
        while client.read(conversation).await.is_none() {
            assert!(started.elapsed() < PATIENCE, "nothing is answered");
            pace.tick().await;
        }
    }
    posted
}
