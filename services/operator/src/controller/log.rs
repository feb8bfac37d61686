//! Publishes the rules to the services over the event log, and reads their acknowledgements and
//! watermarks. Bounded by [`LOG_TIMEOUT`]: an unreachable log is reported, not waited for.

use std::{future::Future, time::Duration};

use event_log::{EventLog, Tier, Watermark};
use jiff::Timestamp;
use retention::RuleSet;

/// Bounds one exchange with the event log, so that a pass does not hang while the log is away.
const LOG_TIMEOUT: Duration = Duration::from_secs(4);

/// Connection to the event log, made at the first use.
pub(crate) struct LogClient {
    url: String,
    connection: Option<EventLog>,
}

/// The rules of one pass, and what the services report about them.
#[derive(Debug)]
pub(crate) struct PublishedRules {
    pub(crate) rules: RuleSet,
    /// The hash as the services know it: in the log's own time.
    pub(crate) hash: String,
    /// Per service, the hash of the rules that it follows; or why that is unknown.
    pub(crate) acks: Result<Vec<(String, String)>, String>,
    /// Time of the oldest event in hot, warm and cold.
    pub(crate) oldest: [Option<Timestamp>; 3],
}

impl LogClient {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            connection: None,
        }
    }

    /// Publishes `rules` unless they are stored already. An unreachable log ends up in `acks`.
    pub(crate) async fn publish(&mut self, rules: &RuleSet) -> PublishedRules {
        let mut published = PublishedRules {
            rules: rules.clone(),
            hash: rules.hash(),
            acks: Err("the event log does not answer".to_owned()),
            oldest: [None; 3],
        };
        match with_timeout(self.exchange(rules)).await {
            Ok((hash, acks, oldest)) => {
                published.hash = hash;
                published.acks = Ok(acks);
                published.oldest = oldest;
            }
            Err(why) => published.acks = Err(why),
        }
        published
    }

    async fn exchange(&mut self, rules: &RuleSet) -> event_log::Result<LogReply> {
        let log = match &self.connection {
            Some(log) => log.clone(),
            None => EventLog::connect_within(&self.url, "operator", Duration::ZERO).await?,
        };
        self.connection = Some(log.clone());
        let scaled = rules.clone().accelerated(log.time_scale().await?);
        // Stored rules that cannot be read are replaced too.
        if log.policy().await.ok().as_ref() != Some(&scaled) {
            log.publish_policy(rules).await?;
        }
        let acks = log.policy_acks().await?;
        let watermarks = log.watermarks().await?;
        Ok((
            scaled.hash(),
            acks,
            [Tier::Hot, Tier::Warm, Tier::Cold].map(|tier| oldest(&watermarks, tier)),
        ))
    }
}

/// The hash of the stored rules, the acknowledgements, and the oldest event of each tier.
type LogReply = (String, Vec<(String, String)>, [Option<Timestamp>; 3]);

async fn with_timeout<T>(
    exchange: impl Future<Output = event_log::Result<T>>,
) -> Result<T, String> {
    match tokio::time::timeout(LOG_TIMEOUT, exchange).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the event log does not answer".to_owned()),
    }
}

fn oldest(watermarks: &[Watermark], tier: Tier) -> Option<Timestamp> {
    let of_tier = watermarks.iter().filter(|mark| mark.tier() == tier);
    let times = of_tier.filter_map(|mark| match mark {
        Watermark::Hot { oldest_at, .. }
        | Watermark::Warm { oldest_at, .. }
        | Watermark::Cold { oldest_at, .. } => *oldest_at,
    });
    Timestamp::from_microsecond(times.min()?.as_micros()).ok()
}
