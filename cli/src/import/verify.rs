//! Reading everything back: the same events, once each, with the same joined text.

use anyhow::bail;

use super::{
    expected::{Conversation, Expected},
    progress::Bar,
};
use crate::{
    args::Common,
    client::Client,
    output::{self, Row},
    read::{pages::Pages, stored::Stored},
};

/// Compares what the query service answers with `expected`, and shows a table.
pub(super) async fn verify(expected: &Expected, common: &Common) -> anyhow::Result<()> {
    let client = Client::query(common)?;
    let total = expected
        .values()
        .map(|conversation| conversation.ids.len() as u64)
        .sum();
    let bar = Bar::new("verify", total);
    let (mut rows, mut wrong) = (Vec::new(), 0);
    for (name, conversation) in expected {
        let found = read(&client, name, conversation, &bar).await?;
        let same = found.rows == conversation.ids.len() as u64
            && found.ids.len() == conversation.ids.len()
            && found.sha256() == conversation.sha256();
        wrong += usize::from(!same);
        rows.push(
            Row::default()
                .with("conversation", name)
                .with("rows", conversation.rows)
                .with("events", conversation.ids.len())
                .with("found", found.rows)
                .with("bytes", conversation.bytes)
                .with("sha256", &conversation.sha256()[..16])
                .with("same", if same { "yes" } else { "NO" }),
        );
    }
    bar.finish();
    output::rows(common.output, &rows)?;
    if wrong > 0 {
        bail!(
            "{wrong} of {} conversations differ from their source: run the import again, and look \
             at the log of the query service",
            expected.len()
        );
    }
    Ok(())
}

/// What is stored of `wanted`; other events of the conversation are passed over.
async fn read(
    client: &Client,
    name: &str,
    wanted: &Conversation,
    bar: &Bar,
) -> anyhow::Result<Conversation> {
    let mut found = Conversation::default();
    let mut pages = Pages::new(client, name);
    while let Some(page) = pages.next().await? {
        for line in &page {
            let event = Stored::parse(line)?;
            let id = event.event_id.parse()?;
            if wanted.ids.contains(&id) {
                found.rows += 1;
                found.add(id, &event.bytes()?);
            }
        }
        bar.advance(page.len() as u64);
    }
    Ok(found)
}
