//! The rule set in force, and the services' acknowledgements of it.

use std::{sync::Arc, time::Duration};

use futures::{Stream, stream};
use retention::RuleSet;
use tracing::warn;

use crate::{
    error::{Error, Result},
    log::EventLog,
};

const RULES_KEY: &str = "rules";
const TIME_SCALE_KEY: &str = "time-scale";
const ACK_KEY_PREFIX: &str = "ack.";
/// The interval at which followers read the rules. Polling every second is cheap, notices a change
/// well within 5 s, and has no subscription to re-establish after a restart of the log.
const POLICY_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The time scale by default: ages pass in real time.
pub const DEFAULT_TIME_SCALE: u32 = 1;

impl EventLog {
    /// Publishes `rules` as the rule set in force.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn publish_policy(&self, rules: &RuleSet) -> Result<()> {
        self.policy_bucket()
            .put(RULES_KEY, rules.canonical_json())
            .await
    }

    /// Publishes the time scale: the factor by which every service divides ages.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn publish_time_scale(&self, factor: u32) -> Result<()> {
        self.policy_bucket()
            .put(TIME_SCALE_KEY, factor.to_string())
            .await
    }

    /// Reads the rule set in force, with ages divided by the time scale; the built-in default if none
    /// was published.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry. [`Error::Damaged`] if the rules or the time scale cannot be
    /// parsed: keep the rules in use until others are published.
    pub async fn policy(&self) -> Result<RuleSet> {
        let rules = match self.policy_bucket().get(RULES_KEY).await? {
            Some(json) => RuleSet::from_json(&json).map_err(|error| damaged(RULES_KEY, error))?,
            None => RuleSet::default(),
        };
        Ok(rules.accelerated(self.time_scale().await?))
    }

    /// Reads the factor by which ages are divided; [`DEFAULT_TIME_SCALE`] if none was published.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry. [`Error::Damaged`] if it is not a number: permanent.
    pub async fn time_scale(&self) -> Result<u32> {
        let Some(text) = self.policy_bucket().get(TIME_SCALE_KEY).await? else {
            return Ok(DEFAULT_TIME_SCALE);
        };
        let text = String::from_utf8_lossy(&text);
        text.trim()
            .parse()
            .map_err(|error| damaged(TIME_SCALE_KEY, error))
    }

    /// Streams the rule set in force, then every change within a few seconds. Never ends and never
    /// fails: while the log cannot be reached, or its rules cannot be parsed, the last rules stay in
    /// force.
    pub fn watch_policy(&self) -> impl Stream<Item = Arc<RuleSet>> + Send + Unpin + use<> {
        let log = self.clone();
        Box::pin(stream::unfold(
            None,
            move |current: Option<Arc<RuleSet>>| {
                let log = log.clone();
                async move {
                    let next = log.next_policy(current.as_deref()).await;
                    Some((Arc::clone(&next), Some(next)))
                }
            },
        ))
    }

    /// Polls until the rules differ from `current`.
    async fn next_policy(&self, current: Option<&RuleSet>) -> Arc<RuleSet> {
        let mut warned = false;
        let mut pause = current.is_some();
        loop {
            if pause {
                tokio::time::sleep(POLICY_POLL_INTERVAL).await;
            }
            pause = true;
            match self.policy().await {
                Ok(rules) if Some(&rules) == current => {}
                Ok(rules) => return Arc::new(rules),
                Err(error) if !warned => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "read of rules failed, the last rules stay in force"
                    );
                    warned = true;
                }
                Err(_) => {}
            }
        }
    }

    /// Acknowledges that `component` follows the rules whose [`RuleSet::hash`] is `hash`.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn ack_policy(&self, component: &str, hash: &str) -> Result<()> {
        let key = format!("{ACK_KEY_PREFIX}{component}");
        self.policy_bucket().put(&key, hash.to_owned()).await
    }

    /// Reads the acknowledgements: pairs of component and hash of its rules, ascending by component.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn policy_acks(&self) -> Result<Vec<(String, String)>> {
        let mut acks = Vec::new();
        for key in self.policy_bucket().keys().await? {
            let Some(component) = key.strip_prefix(ACK_KEY_PREFIX) else {
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
