//! `isotherm policy preview`: counts the events that the policies of a file would move or delete, before
//! they are applied.

use std::path::PathBuf;

use anyhow::Context as _;
use retention::RuleSet;
use serde_json::Value;

use super::{compile_files, connect};
use crate::{
    client::{self, Client},
    common::Common,
    output::{self, Row},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// All policies that would be in force; each is previewed as if it were enforced.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Preview against the built-in default instead of what is in force.
    #[arg(long)]
    against_default: bool,
}

/// Counts by a query and prints a row for each tier.
pub(super) async fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let mut after = compile_files(&args.files)?;
    let names: Vec<String> = after.policies.iter().map(|own| own.name.clone()).collect();
    for name in &names {
        after = after.enforcing(name);
    }
    let before = match args.against_default {
        true => RuleSet::default(),
        false => connect(&common.log.nats_url).await?.policy().await?,
    };
    let now = event::Timestamp::now().as_micros();
    let sql = retention::preview_sql(&before, &after, u64::try_from(now).unwrap_or_default());
    output::rows(common.output, &rows(&count(sql, common).await?))?;
    if has_sampling(&after) {
        output::note("rows that sampling will thin out later are not counted here");
    }
    Ok(())
}

/// Returns six numbers: events and bytes of hot, of warm, of cold.
async fn count(sql: String, common: &Common) -> anyhow::Result<Vec<i64>> {
    let client = Client::query(common)?;
    let url = client.url(&["v1", "sql"]);
    let request = client.post(url, "text/plain; charset=utf-8", sql.into_bytes());
    let request = request.header(reqwest::header::ACCEPT, client::JSON);
    let answer = client.send(request).await?;
    client::warn_if_incomplete(&answer);
    let answer: Value = answer.json().await.context("read the counts")?;
    let row = answer["rows"][0].as_array().context("read the counts")?;
    let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
    Ok(row
        .iter()
        .map(|value| number(value).unwrap_or_default())
        .collect())
}

fn rows(counts: &[i64]) -> Vec<Row> {
    let what = ["leave for warm", "leave for cold", "end"];
    let tiers = ["hot", "warm", "cold"].into_iter().zip(what);
    let rows = tiers.zip(counts.chunks(2)).map(|((tier, what), counts)| {
        Row::default()
            .with("tier", tier)
            .with("what", what)
            .with("events", counts[0])
            .with("bytes", counts.get(1).copied().unwrap_or_default())
    });
    rows.collect()
}

fn has_sampling(rules: &RuleSet) -> bool {
    let mut colds = rules
        .policies
        .iter()
        .filter_map(|policy| policy.cold.as_ref());
    colds.any(|cold| cold.sampling.is_some())
}

#[cfg(test)]
mod tests {
    use super::rows;

    #[test]
    fn counts_are_shown_by_tier() {
        let rows = rows(&[1, 2, 3, 4, 5, 6]);
        let text: Vec<String> = rows.iter().map(crate::output::Row::json).collect();
        assert_eq!(
            text[2],
            r#"{"tier":"cold","what":"end","events":5,"bytes":6}"#
        );
    }
}
