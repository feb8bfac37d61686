//! Identity of the store that an import goes to, and the check that the query service reads the same.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::StatusCode;
use serde::Deserialize;

use crate::{
    client::{self, Client, JSON},
    common::Common,
    output,
};

/// Pause before ingest is asked again.
const INGEST_RETRY_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
struct StoreAnswer {
    store: Option<String>,
}

/// Returns the id of the store behind ingest. Retries while ingest is unreachable, as sending does.
///
/// # Errors
/// With `will_verify`, when the query service answers and belongs to another store: everything would be
/// sent, and the verification would find nothing.
pub(super) async fn identity(common: &Common, will_verify: bool) -> anyhow::Result<String> {
    let store = ingest_store(&Client::ingest(common)?).await?;
    if will_verify
        && query_store(common)
            .await
            .is_some_and(|other| other != store)
    {
        bail!(
            "the query service at {} is that of another store than ingest at {}: name both with \
             --url and --ingest-url, or leave out reading back with --no-verify",
            common.url,
            common.ingest_url
        );
    }
    Ok(store)
}

async fn ingest_store(ingest: &Client) -> anyhow::Result<String> {
    let mut warned = false;
    loop {
        let url = ingest.url(&["v1", "store"]);
        let error = match ingest.get(url, JSON).send().await {
            Ok(response) if response.status().is_success() => {
                let answer: StoreAnswer = response.json().await.context("read ingest's answer")?;
                return answer
                    .store
                    .context("ingest does not say which store it is");
            }
            Ok(response) if response.status() == StatusCode::NOT_FOUND => {
                bail!("ingest does not say which store it is: is it as new as this isotherm?")
            }
            Ok(response) if !client::is_transient(response.status()) => {
                return Err(client::refusal("ingest", response).await);
            }
            Ok(response) => client::refusal("ingest", response).await,
            Err(error) => ingest.unreachable(&error),
        };
        if !warned {
            output::note(&format!("isotherm: {error:#}; will try again"));
            warned = true;
        }
        tokio::time::sleep(INGEST_RETRY_PAUSE).await;
    }
}

/// `None` when the query service does not answer: it is needed only for the verification.
async fn query_store(common: &Common) -> Option<String> {
    let query = Client::query(common).ok()?;
    let url = query.url(&["v1", "watermarks"]);
    let response = query.send(query.get(url, JSON)).await.ok()?;
    response.json::<StoreAnswer>().await.ok()?.store
}
