//! The rules that every service follows, and who follows which.

use std::{sync::Arc, time::Duration};

use futures::{Stream, stream};
use retention::RuleSet;
use tracing::warn;

use crate::{
    error::{Error, Result},
    log::EventLog,
};

const RULES: &str = "rules";
const TIME_SCALE: &str = "time-scale";
const ACK: &str = "ack.";
/// A look every second is cheap, follows well within five, and has nothing to re-establish when
/// the log comes back.
const POLL: Duration = Duration::from_secs(1);

/// Time passes as it does.
pub const DEFAULT_TIME_SCALE: u32 = 1;

impl EventLog {
    /// Puts `rules` in force.
    pub async fn publish_policy(&self, rules: &RuleSet) -> Result<()> {
        self.policy_bucket()
            .put(RULES, rules.canonical_json())
            .await
    }

    /// Lets every age pass `factor` times as fast.
    pub async fn publish_time_scale(&self, factor: u32) -> Result<()> {
        self.policy_bucket()
            .put(TIME_SCALE, factor.to_string())
            .await
    }

    /// The rules in force, already accelerated; the built-in default when there are none.
    pub async fn policy(&self) -> Result<RuleSet> {
        let rules = match self.policy_bucket().get(RULES).await? {
            Some(json) => RuleSet::from_json(&json).map_err(|error| damaged(RULES, error))?,
            None => RuleSet::default(),
        };
        Ok(rules.accelerated(self.time_scale().await?))
    }

    /// The factor by which ages are divided.
    pub async fn time_scale(&self) -> Result<u32> {
        let Some(text) = self.policy_bucket().get(TIME_SCALE).await? else {
            return Ok(DEFAULT_TIME_SCALE);
        };
        let text = String::from_utf8_lossy(&text);
        text.trim()
            .parse()
            .map_err(|error| damaged(TIME_SCALE, error))
    }

    /// The rules in force, then every change within a few seconds. Never ends and never fails:
    /// while the log cannot be reached, or says something that cannot be read, the last rules
    /// stay in force.
    pub fn watch_policy(&self) -> impl Stream<Item = Arc<RuleSet>> + Send + Unpin + use<> {
        let log = self.clone();
        Box::pin(stream::unfold(None, move |seen: Option<Arc<RuleSet>>| {
            let log = log.clone();
            async move {
                let next = log.next_policy(seen.as_deref()).await;
                Some((Arc::clone(&next), Some(next)))
            }
        }))
    }

    async fn next_policy(&self, seen: Option<&RuleSet>) -> Arc<RuleSet> {
        let mut warned = false;
        let mut pause = seen.is_some();
        loop {
            if pause {
                tokio::time::sleep(POLL).await;
            }
            pause = true;
            match self.policy().await {
                Ok(rules) if Some(&rules) == seen => {}
                Ok(rules) => return Arc::new(rules),
                Err(error) if !warned => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "the rules cannot be read, the last ones stay in force"
                    );
                    warned = true;
                }
                Err(_) => {}
            }
        }
    }

    /// Says that `component` follows the rules of `hash`: [`RuleSet::hash`] of what it was given.
    pub async fn ack_policy(&self, component: &str, hash: &str) -> Result<()> {
        let key = format!("{ACK}{component}");
        self.policy_bucket().put(&key, hash.to_owned()).await
    }

    /// Which component follows which rules.
    pub async fn policy_acks(&self) -> Result<Vec<(String, String)>> {
        let mut acks = Vec::new();
        for key in self.policy_bucket().keys().await? {
            let Some(component) = key.strip_prefix(ACK) else {
                continue;
            };
            if let Some(hash) = self.policy_bucket().get(&key).await? {
                let hash = String::from_utf8_lossy(&hash).into_owned();
                acks.push((component.to_owned(), hash));
            }
        }
        acks.sort();
        Ok(acks)
    }
}

fn damaged(what: &str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Damaged {
        what: what.to_owned(),
        source: source.into(),
    }
}
