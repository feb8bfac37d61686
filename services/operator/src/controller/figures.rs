//! What the query service counts: how many conversations and events fall to each policy, and what
//! a policy that runs dry would do.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use reqwest::{Url, header};
use retention::RuleSet;
use serde_json::Value;

/// A count over everything is not made while somebody waits.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Whom the query service takes a caller without a credential for.
const TENANT: &str = "default";
const TIERS: [&str; 3] = ["hot", "warm", "cold"];

/// Everything by the full name of the policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) at: Timestamp,
    /// The hash of the rules that were counted by.
    pub(crate) rules: String,
    pub(crate) conversations: BTreeMap<String, i64>,
    /// hot, warm, cold; of cold, what has left warm.
    pub(crate) held: BTreeMap<String, [Sum; 3]>,
    /// hot, warm, cold: what would leave them.
    pub(crate) previews: BTreeMap<String, [Sum; 3]>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) events: i64,
    pub(crate) bytes: i64,
    pub(crate) oldest_us: Option<i64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Query {
    http: reqwest::Client,
    url: Url,
}

impl Query {
    pub(crate) fn new(url: Url) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build();
        let http = http.context("start the HTTP client")?;
        Ok(Self { http, url })
    }

    pub(crate) async fn figures(&self, rules: &RuleSet, now: Timestamp) -> anyhow::Result<Figures> {
        let now_us = u64::try_from(now.as_microsecond()).unwrap_or_default();
        let conversations = self
            .rows(retention::selects_sql(&rules.policies, TENANT))
            .await?;
        let held = self.rows(retention::tiers_sql(rules, now_us)).await?;
        let mut previews = BTreeMap::new();
        for policy in rules.policies.iter().filter(|policy| policy.dry_run) {
            let after = rules.clone().enforcing(&policy.name);
            let rows = self
                .rows(retention::preview_sql(rules, &after, now_us))
                .await?;
            previews.insert(policy.name.clone(), preview(rows.first()));
        }
        let names = rules.policies.iter().map(|policy| policy.name.clone());
        let counts = (0..).map(|column| conversations.first().and_then(|row| number(row, column)));
        Ok(Figures {
            at: now,
            rules: rules.hash(),
            conversations: names.zip(counts.map(Option::unwrap_or_default)).collect(),
            held: held_by(rules, &held),
            previews,
        })
    }

    async fn rows(&self, sql: String) -> anyhow::Result<Vec<Value>> {
        let request = self.http.post(self.url.clone());
        let request = request.header(header::ACCEPT, "application/json").body(sql);
        let answer = request
            .send()
            .await
            .context("the query service does not answer")?;
        let status = answer.status();
        let body = answer
            .bytes()
            .await
            .context("the query service does not answer")?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if !status.is_success() {
            let detail = body["detail"].as_str().or(body["title"].as_str());
            bail!(
                "the query service refuses to count: {}",
                detail.unwrap_or(status.as_str())
            );
        }
        let rows = body["rows"].as_array();
        Ok(rows.context("the query service gives no rows")?.clone())
    }
}

fn preview(row: Option<&Value>) -> [Sum; 3] {
    let sum = |tier: usize| Sum {
        events: row
            .and_then(|row| number(row, 2 * tier))
            .unwrap_or_default(),
        bytes: row
            .and_then(|row| number(row, 2 * tier + 1))
            .unwrap_or_default(),
        oldest_us: None,
    };
    [sum(0), sum(1), sum(2)]
}

/// Rows of hot, warm, cold, in_hot, in_warm, events, bytes, oldest.
fn held_by(rules: &RuleSet, rows: &[Value]) -> BTreeMap<String, [Sum; 3]> {
    let mut held: BTreeMap<String, [Sum; 3]> = BTreeMap::new();
    for policy in &rules.policies {
        held.insert(policy.name.clone(), [Sum::default(); 3]);
    }
    for row in rows {
        let (in_hot, in_warm) = (row[3] == true, row[4] == true);
        let lies = [in_hot, in_warm, !in_warm];
        let sum = Sum {
            events: number(row, 5).unwrap_or_default(),
            bytes: number(row, 6).unwrap_or_default(),
            oldest_us: number(row, 7),
        };
        for tier in (0..TIERS.len()).filter(|tier| lies[*tier]) {
            let winner = number(row, tier).and_then(|index| usize::try_from(index).ok());
            let winner = winner.and_then(|index| rules.policies.get(index));
            let own = winner.and_then(|policy| held.get_mut(&policy.name));
            own.into_iter().for_each(|own| own[tier].add(sum));
        }
    }
    held
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.bytes += other.bytes;
        self.oldest_us = [self.oldest_us, other.oldest_us]
            .into_iter()
            .flatten()
            .min();
    }
}

/// Large numbers may come as texts.
fn number(row: &Value, column: usize) -> Option<i64> {
    let value = row.get(column)?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}
