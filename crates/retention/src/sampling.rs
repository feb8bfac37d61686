//! Sampling: which events survive the move into old age. Integer arithmetic only, so that no
//! machine's floating point can decide otherwise than another's.

use event::{EventId, Timestamp};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    resolve::{SubjectLabels, any_glob},
    rules::{Action, HashKey, Rule, Sampling, Strategy},
};

/// What a sampling decision looks at.
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

/// Whether an event stays, and the rate by which that was decided (1 for "always").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    pub keep: bool,
    pub rate: f64,
}

impl Sampling {
    /// Keep = a keep rule matches, or `hash64(salt, key) / 2^64 < rate`.
    #[must_use]
    pub fn decide(&self, subject: &SampleSubject<'_>) -> Decision {
        let rule = self.rules.iter().find(|rule| rule.matches(subject));
        let action = rule.map_or(self.default_action, |rule| rule.action);
        let sample = rule.and_then(|rule| rule.sample.as_ref());
        let threshold = match (action, sample) {
            (Action::Drop, _) => 0,
            (Action::Sample, Some(sample)) => sample.strategy.threshold(subject),
            (Action::Keep | Action::Sample, _) => CERTAIN,
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

/// Thresholds are in units of 2^-64: this one lets every hash pass.
const CERTAIN: u128 = 1 << 64;

#[expect(
    clippy::cast_precision_loss,
    reason = "53 bits of a rate are enough to weigh a row"
)]
fn rate(threshold: u128) -> f64 {
    threshold as f64 / CERTAIN as f64
}

impl Strategy {
    fn threshold(&self, subject: &SampleSubject<'_>) -> u128 {
        match self {
            Self::Fixed { percent } => percent_of_certain(*percent),
            Self::LogDecay {
                decay_unit_ms,
                min_percent,
            } => {
                let age = subject
                    .timestamp
                    .since(subject.conversation_start)
                    .as_micros();
                let unit = u128::from(*decay_unit_ms).max(1) * 1000;
                // h + 2 with 32 bits of fraction, h = age / unit
                let x = ((age << 32) / unit) + (2 << 32);
                let decayed = (CERTAIN << LOG_BITS) / log2(x).max(1);
                decayed.min(CERTAIN).max(percent_of_certain(*min_percent))
            }
        }
    }
}

fn percent_of_certain(percent: u32) -> u128 {
    CERTAIN * u128::from(percent.min(100)) / 100
}

const LOG_BITS: u32 = 32;

/// log2 of `x` (at least 2, 32 bits of fraction), with [`LOG_BITS`] bits of fraction: the digits
/// of a binary logarithm come from squaring again and again.
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
    for _ in 0..LOG_BITS {
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
