//! Which store an import goes to, and whether what is read back will come from the same.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::StatusCode;
use serde::Deserialize;

use crate::{
    args::Common,
    client::{self, Client, JSON},
    output,
};

const AGAIN_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
struct Answer {
    store: Option<String>,
}

/// The id of the store behind ingest. Waits for an ingest that is away, as sending does.
///
/// # Errors
/// With `will_verify`, when the query service answers and is that of another store: everything
/// would be sent, and then found missing.
pub(super) async fn identity(common: &Common, will_verify: bool) -> anyhow::Result<String> {
    let store = of_ingest(&Client::ingest(common)?).await?;
    if will_verify && of_query(common).await.is_some_and(|other| other != store) {
        bail!(
            "the query service at {} is that of another store than ingest at {}: name both with \
             --url and --ingest-url, or leave out reading back with --no-verify",
            common.url,
            common.ingest_url
        );
    }
    Ok(store)
}

async fn of_ingest(ingest: &Client) -> anyhow::Result<String> {
    let mut complained = false;
    loop {
        let url = ingest.url(&["v1", "store"]);
        let error = match ingest.get(url, JSON).send().await {
            Ok(response) if response.status().is_success() => {
                let answer: Answer = response.json().await.context("read ingest's answer")?;
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
        if !complained {
            output::note(&format!("isotherm: {error:#}; will try again"));
            complained = true;
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// `None` when it does not say: it may be away until there is something to read back.
async fn of_query(common: &Common) -> Option<String> {
    let query = Client::query(common).ok()?;
    let url = query.url(&["v1", "watermarks"]);
    let response = query.send(query.get(url, JSON)).await.ok()?;
    response.json::<Answer>().await.ok()?.store
}
