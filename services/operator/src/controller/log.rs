//! Tells the services, and hears what they say. Never waits long: what does not answer is said so.

use std::{future::Future, time::Duration};

use event_log::{EventLog, Tier, Watermark};
use jiff::Timestamp;
use retention::RuleSet;

const PATIENCE: Duration = Duration::from_secs(4);

pub(crate) struct Log {
    url: String,
    connection: Option<EventLog>,
}

/// What the services were told, and what they say.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) rules: RuleSet,
    /// The hash as the services know it: in the log's own time.
    pub(crate) hash: String,
    pub(crate) acks: Result<Vec<(String, String)>, String>,
    pub(crate) oldest: [Option<Timestamp>; 3],
}

impl Log {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            connection: None,
        }
    }

    pub(crate) async fn tell(&mut self, rules: &RuleSet) -> Told {
        let mut told = Told {
            rules: rules.clone(),
            hash: rules.hash(),
            acks: Err("the event log does not answer".to_owned()),
            oldest: [None; 3],
        };
        match within(self.speak(rules)).await {
            Ok((hash, acks, oldest)) => {
                told.hash = hash;
                told.acks = Ok(acks);
                told.oldest = oldest;
            }
            Err(why) => told.acks = Err(why),
        }
        told
    }

    async fn speak(&mut self, rules: &RuleSet) -> event_log::Result<Heard> {
        let log = match &self.connection {
            Some(log) => log.clone(),
            None => EventLog::connect_within(&self.url, "operator", Duration::ZERO).await?,
        };
        self.connection = Some(log.clone());
        let scaled = rules.clone().accelerated(log.time_scale().await?);
        // Damaged rules are replaced like others.
        if log.policy().await.ok().as_ref() != Some(&scaled) {
            log.publish_policy(rules).await?;
        }
        let acks = log.policy_acks().await?;
        let marks = log.watermarks().await?;
        Ok((
            scaled.hash(),
            acks,
            [Tier::Hot, Tier::Warm, Tier::Cold].map(|tier| oldest(&marks, tier)),
        ))
    }
}

type Heard = (String, Vec<(String, String)>, [Option<Timestamp>; 3]);

async fn within<T>(what: impl Future<Output = event_log::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, what).await {
        Ok(Ok(heard)) => Ok(heard),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the event log does not answer".to_owned()),
    }
}

fn oldest(marks: &[Watermark], tier: Tier) -> Option<Timestamp> {
    let own = marks.iter().filter(|mark| mark.tier() == tier);
    let times = own.filter_map(|mark| match mark {
        Watermark::Hot { oldest_at, .. }
        | Watermark::Warm { oldest_at, .. }
        | Watermark::Cold { oldest_at, .. } => *oldest_at,
    });
    Timestamp::from_microsecond(times.min()?.as_micros()).ok()
}
