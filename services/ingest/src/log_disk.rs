//! Notices that the log cannot write, because its disk is full or fails: an append would wait for an answer
//! that does not come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::StatusCode;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::problem::Problem;

const CHECK_INTERVAL: Duration = Duration::from_secs(2);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether the log can write, as far as its servers say.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogDisk(Arc<AtomicBool>);

impl LogDisk {
    /// The problem of an append now; none when the log can write.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        if !self.0.load(Ordering::Relaxed) {
            return Ok(());
        }
        let detail = "the log cannot write, its disk is full or fails; make room on it; this request stored \
                      nothing, retry with the same event ids";
        let problem = Problem::new(StatusCode::INSUFFICIENT_STORAGE, "log_disk_full", detail);
        Err(problem.retry_after(5))
    }

    /// Asks the servers whose monitors are at `urls` until `shutdown`.
    pub(crate) async fn follow(
        self,
        urls: Vec<String>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let client = reqwest::Client::builder().timeout(HEALTH_TIMEOUT).build()?;
        loop {
            let healths = join_all(urls.iter().map(|url| health(&client, url))).await;
            let fails = none_can_write(&healths);
            if self.0.swap(fails, Ordering::Relaxed) != fails {
                warn!(log.writes = !fails, health = ?healths, "log changed");
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
        }
    }
}

/// What the server says about its health; empty when it does not answer.
async fn health(client: &reqwest::Client, url: &str) -> String {
    let url = format!("{}/healthz", url.trim_end_matches('/'));
    let answer = async { client.get(url).send().await?.text().await };
    answer.await.unwrap_or_default()
}

/// Of several servers one that fails is replaced by the others.
fn none_can_write(healths: &[String]) -> bool {
    let cannot_write = |health: &String| health.contains("write error");
    !healths.is_empty() && healths.iter().all(cannot_write)
}

#[cfg(test)]
mod tests {
    use super::none_can_write;

    #[test]
    fn a_log_cannot_write_when_no_server_can() {
        let fails =
            r#"{"status":"unavailable","error":"JetStream stream 'x' write error: no space"}"#;
        let healths = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (texts, cannot) in [
            (&[fails][..], true),
            (&[fails, fails], true),
            (&[fails, r#"{"status":"ok"}"#, fails], false),
            (&[""], false),
            (&[], false),
        ] {
            assert_eq!(none_can_write(&healths(texts)), cannot, "{texts:?}");
        }
    }
}
