//! Figures counted by the query service: the conversations and events of each policy, and what a
//! policy in dry run would remove from each tier.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use reqwest::{Url, header};
use retention::RuleSet;
use serde_json::Value;

/// Timeout of one counting query. It reads all tiers, and no client waits for it.
const QUERY_TIMEOUT: Duration = Duration::from_secs(60);
/// The tenant that the query service assumes for requests without a credential.
const TENANT: &str = "default";
const TIERS: [&str; 3] = ["hot", "warm", "cold"];

/// Counts by policy; the keys are full names, `namespace/name`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) at: Timestamp,
    /// Hash of the rules by which the events were assigned to policies.
    pub(crate) rules: String,
    pub(crate) conversations: BTreeMap<String, i64>,
    /// hot, warm, cold: what each tier has; for cold, only events that have left warm.
    pub(crate) stored: BTreeMap<String, [TierTotals; 3]>,
    /// hot, warm, cold: what would leave each if the policy were enforced.
    pub(crate) previews: BTreeMap<String, [TierTotals; 3]>,
}

/// Events, bytes and the oldest event (microseconds since the epoch) of one policy in one tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TierTotals {
    pub(crate) events: i64,
    pub(crate) bytes: i64,
    pub(crate) oldest_us: Option<i64>,
}

/// Client of the SQL endpoint of the query service.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    http: reqwest::Client,
    url: Url,
}

impl Query {
    pub(crate) fn new(url: Url) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(QUERY_TIMEOUT).build();
        let http = http.context("start the HTTP client")?;
        Ok(Self { http, url })
    }

    /// Counts by `rules`, with ages as of `now`.
    pub(crate) async fn figures(&self, rules: &RuleSet, now: Timestamp) -> anyhow::Result<Figures> {
        let now_us = u64::try_from(now.as_microsecond()).unwrap_or_default();
        let conversations = self
            .rows(retention::selects_sql(&rules.policies, TENANT))
            .await?;
        let rows_by_tier = self.rows(retention::tiers_sql(rules, now_us)).await?;
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
            stored: totals_by_policy(rules, &rows_by_tier),
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

fn preview(row: Option<&Value>) -> [TierTotals; 3] {
    let sum = |tier: usize| TierTotals {
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

/// Sums rows of (hot, warm, cold, in_hot, in_warm, events, bytes, oldest); the first three are the
/// indexes of the policies that decide in that tier.
fn totals_by_policy(rules: &RuleSet, rows: &[Value]) -> BTreeMap<String, [TierTotals; 3]> {
    let mut totals: BTreeMap<String, [TierTotals; 3]> = BTreeMap::new();
    for policy in &rules.policies {
        totals.insert(policy.name.clone(), [TierTotals::default(); 3]);
    }
    for row in rows {
        let (in_hot, in_warm) = (row[3] == true, row[4] == true);
        let is_in_tier = [in_hot, in_warm, !in_warm];
        let sum = TierTotals {
            events: number(row, 5).unwrap_or_default(),
            bytes: number(row, 6).unwrap_or_default(),
            oldest_us: number(row, 7),
        };
        for tier in (0..TIERS.len()).filter(|tier| is_in_tier[*tier]) {
            let winner = number(row, tier).and_then(|index| usize::try_from(index).ok());
            let winner = winner.and_then(|index| rules.policies.get(index));
            let own = winner.and_then(|policy| totals.get_mut(&policy.name));
            own.into_iter().for_each(|own| own[tier].add(sum));
        }
    }
    totals
}

impl TierTotals {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.bytes += other.bytes;
        self.oldest_us = [self.oldest_us, other.oldest_us]
            .into_iter()
            .flatten()
            .min();
    }
}

/// The query service may write large integers as strings.
fn number(row: &Value, column: usize) -> Option<i64> {
    let value = row.get(column)?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}
