//! Sampling: which events the cold tier keeps once no warm slice covers them. Decisions use integer
//! arithmetic only, so that every machine decides the same.

use event::{EventId, Timestamp};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    resolve::{SubjectLabels, any_glob},
    rules::{Action, HashKey, Rule, Sampling, Strategy},
};

/// The attributes of an event by which sampling decides.
#[derive(Clone, Copy, Debug)]
pub struct SampleSubject<'a> {
    pub event_id: EventId,
    pub task_id: Option<&'a str>,
    pub tenant: &'a str,
    pub conversation: &'a str,
    pub event_type: &'a str,
    pub labels: &'a dyn SubjectLabels,
    pub timestamp: Timestamp,
    /// The timestamp of the conversation's first event by position.
    pub conversation_start: Timestamp,
}

/// The decision about one event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// True if the event is kept.
    pub keep: bool,
    /// The probability with which such an event is kept: 0 to 1, 1 for "always".
    pub rate: f64,
}

impl Sampling {
    /// Decides about one event by the first rule that matches: it is kept if
    /// `hash64(salt, key) / 2^64 < rate`, where the rate of `Keep` is 1 and that of `Drop` is 0.
    #[must_use]
    pub fn decide(&self, subject: &SampleSubject<'_>) -> Decision {
        let rule = self.rules.iter().find(|rule| rule.matches(subject));
        let action = rule.map_or(self.default_action, |rule| rule.action);
        let sample = rule.and_then(|rule| rule.sample.as_ref());
        let threshold = match (action, sample) {
            (Action::Drop, _) => 0,
            (Action::Sample, Some(sample)) => sample.strategy.threshold(subject),
            (Action::Keep | Action::Sample, _) => KEEP_ALL_THRESHOLD,
        };
        Decision {
            keep: u128::from(self.hash(subject)) < threshold,
            rate: rate(threshold),
        }
    }

    fn hash(&self, subject: &SampleSubject<'_>) -> u64 {
        let mut hasher = Xxh3::new();
        hasher.update(self.salt.as_bytes());
        hasher.update(&[0]);
        match (self.hash_key, subject.task_id) {
            (HashKey::Conversation, _) => {
                hasher.update(subject.tenant.as_bytes());
                hasher.update(&[0]);
                hasher.update(subject.conversation.as_bytes());
            }
            (HashKey::Task, Some(task)) => hasher.update(task.as_bytes()),
            (HashKey::Event | HashKey::Task, _) => hasher.update(subject.event_id.as_bytes()),
        }
        hasher.digest()
    }
}

impl Rule {
    fn matches(&self, subject: &SampleSubject<'_>) -> bool {
        any_glob(&self.event_types, subject.event_type)
            && self.match_labels.iter().all(|(key, value)| {
                subject
                    .labels
                    .label(key)
                    .is_some_and(|label| label == *value)
            })
    }
}

/// The threshold that every hash is below. Thresholds are probabilities in units of 2^-64.
const KEEP_ALL_THRESHOLD: u128 = 1 << 64;

#[expect(
    clippy::cast_precision_loss,
    reason = "53 bits of a rate are enough to weigh a row"
)]
fn rate(threshold: u128) -> f64 {
    threshold as f64 / KEEP_ALL_THRESHOLD as f64
}

impl Strategy {
    /// The rate for this event, in units of 2^-64.
    fn threshold(&self, subject: &SampleSubject<'_>) -> u128 {
        match self {
            Self::Fixed { percent } => threshold_of_percent(*percent),
            Self::LogDecay {
                decay_unit_ms,
                min_percent,
            } => {
                let age = subject
                    .timestamp
                    .since(subject.conversation_start)
                    .as_micros();
                let unit = u128::from(*decay_unit_ms).max(1) * 1000;
                // age / unit + 2, with 32 bits of fraction
                let x = ((age << 32) / unit) + (2 << 32);
                let decayed = (KEEP_ALL_THRESHOLD << LOG_FRACTION_BITS) / log2(x).max(1);
                decayed
                    .min(KEEP_ALL_THRESHOLD)
                    .max(threshold_of_percent(*min_percent))
            }
        }
    }
}

fn threshold_of_percent(percent: u32) -> u128 {
    KEEP_ALL_THRESHOLD * u128::from(percent.min(100)) / 100
}

/// The bits of fraction of [`log2`]: far more precision than a rate needs.
const LOG_FRACTION_BITS: u32 = 32;

/// The binary logarithm of `x` (at least 2, with 32 bits of fraction), with [`LOG_FRACTION_BITS`] bits
/// of fraction. Repeated squaring of the mantissa gives one bit of the logarithm each.
fn log2(x: u128) -> u128 {
    let whole = x.ilog2() - 32;
    // the mantissa, 1 <= m < 2, with 62 bits of fraction
    let shift = x.ilog2();
    let mut m = if shift > 62 {
        x >> (shift - 62)
    } else {
        x << (62 - shift)
    };
    let mut log = u128::from(whole);
    for _ in 0..LOG_FRACTION_BITS {
        m = (m * m) >> 62;
        log <<= 1;
        if m >= 2 << 62 {
            m >>= 1;
            log |= 1;
        }
    }
    log
}

#[cfg(test)]
mod tests;
