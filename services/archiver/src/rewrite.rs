//! Applies the retention rules to the rows of a file: which are kept, sampled out or expired. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use arrow::{
    array::{AsArray as _, RecordBatch},
    datatypes::{Int32Type, Int64Type, TimestampMicrosecondType},
};
use cold_tier::Judgement;
use event::{PartitionId, Position, StoredEvent, Timestamp};
use retention::{Effective, RuleSet, SampleSubject, Subject};

/// The position and the event time of the first event of some conversations, by tenant and conversation;
/// `None` while they are not known.
#[derive(Debug, Default)]
pub(crate) struct ConversationStarts(HashMap<(String, String), Option<(Position, Timestamp)>>);

impl ConversationStarts {
    /// Adds the conversations of a batch of `events`, whose starts are to be found.
    pub(crate) fn want(&mut self, batch: &RecordBatch) {
        let tenants = batch["tenant"].as_string::<i32>().iter().flatten();
        let conversations = batch["conversation_id"].as_string::<i32>().iter();
        for (tenant, conversation) in tenants.zip(conversations.flatten()) {
            let key = (tenant.to_owned(), conversation.to_owned());
            self.0.entry(key).or_default();
        }
    }

    /// The number of conversations.
    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Returns the least and the greatest conversation; `None` when there is none.
    pub(crate) fn bounds(&self) -> Option<(&str, &str)> {
        let conversations = || self.0.keys().map(|(_, conversation)| conversation.as_str());
        Some((conversations().min()?, conversations().max()?))
    }

    /// Records the starts in a batch of `conversation_summary` of the conversations that are wanted.
    pub(crate) fn record_batch(&mut self, batch: &RecordBatch) {
        let text = |name: &str, row: usize| batch[name].as_string::<i32>().value(row).to_owned();
        let long = |name: &str, row: usize| batch[name].as_primitive::<Int64Type>().value(row);
        let small = |name: &str, row: usize| {
            u16::try_from(batch[name].as_primitive::<Int32Type>().value(row)).unwrap_or(0)
        };
        for row in 0..batch.num_rows() {
            let partition = PartitionId {
                generation: small("generation", row),
                partition: small("partition", row),
                epoch: small("epoch", row),
            };
            let seq = u64::try_from(long("start_seq", row)).unwrap_or(0);
            let position = Position::new(partition, seq, small("start_idx", row));
            let time = batch["start_timestamp"].as_primitive::<TimestampMicrosecondType>();
            let time = Timestamp::from_micros(time.value(row));
            let conversation = (text("tenant", row), text("conversation_id", row));
            self.record(&conversation, position, time);
        }
    }

    /// Records one summary of a conversation; of several the one with the least position counts.
    fn record(&mut self, conversation: &(String, String), position: Position, time: Timestamp) {
        let Some(start) = self.0.get_mut(conversation) else {
            return;
        };
        if start.is_none_or(|(least, _)| position < least) {
            *start = Some((position, time));
        }
    }

    /// The event time at which the conversation of `stored` began, when it is known.
    fn start_of(&self, stored: &StoredEvent) -> Option<Timestamp> {
        let event = &stored.event;
        let key = (event.tenant.to_string(), event.conversation_id.to_string());
        self.0.get(&key)?.map(|(_, time)| time)
    }
}

/// The rows of a file after the rules: `kept + sampled_out + expired` is the number of its rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RewriteResult {
    /// With the sample rate at which they were kept.
    pub(crate) kept: Vec<StoredEvent>,
    pub(crate) sampled_out: u64,
    pub(crate) expired: u64,
    /// Rows, of those above, that are within their warm age: the file is not sampled yet.
    pub(crate) still_in_warm: u64,
    /// When rules are due again, by the rows that are not expired.
    pub(crate) due: DueTimes,
}

/// The times at which the rules have something to do with rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DueTimes {
    /// The latest `received_at` of the rows that expire at this age.
    received_by_age: BTreeMap<Duration, Timestamp>,
    /// When the last row has left warm.
    left_warm: Timestamp,
}

impl DueTimes {
    fn record(&mut self, received_at: Timestamp, effective: &Effective<'_>) {
        if let Some(age) = effective.ends_after() {
            self.record_age(age, received_at);
        }
        let left_warm = received_at.plus(effective.warm.rules.max_age());
        self.left_warm = self.left_warm.max(left_warm);
    }

    fn record_age(&mut self, age: Duration, received_at: Timestamp) {
        let latest = self.received_by_age.entry(age).or_insert(received_at);
        *latest = received_at.max(*latest);
    }

    /// Adds the rows of another file.
    pub(crate) fn merge(&mut self, other: Self) {
        for (age, received_at) in other.received_by_age {
            self.record_age(age, received_at);
        }
        self.left_warm = self.left_warm.max(other.left_warm);
    }

    /// Returns what the rules with the hash `rules` say about these rows. The rows of one age are waited
    /// for together, so that a file is rewritten no more often than it has ages.
    pub(crate) fn judgement(&self, rules: &str) -> Judgement {
        let ages = self.received_by_age.iter();
        let expiry_due = ages.map(|(age, received_at)| received_at.plus(*age)).min();
        // A later time could not be written.
        Judgement {
            rules: rules.to_owned(),
            expiry_due: expiry_due.map(|due| due.min(Timestamp::MAX)),
            sampling_due: self.left_warm.min(Timestamp::MAX),
        }
    }
}

/// Applies the age limits of `rules` to `rows`, and with `starts` also the sampling.
pub(crate) fn apply_retention(
    rows: Vec<StoredEvent>,
    rules: &RuleSet,
    now: Timestamp,
    starts: Option<&ConversationStarts>,
) -> RewriteResult {
    let mut result = RewriteResult::default();
    for mut stored in rows {
        let metadata = stored.event.metadata.as_str();
        let effective = rules.effective(&Subject {
            tenant: stored.event.tenant.as_str(),
            conversation: stored.event.conversation_id.as_str(),
            event_type: stored.event.event_type.as_str(),
            labels: &metadata,
        });
        let age = now.since(stored.received_at);
        if age <= effective.warm.rules.max_age() {
            result.still_in_warm += 1;
        }
        if is_expired(age, effective.ends_after()) {
            result.expired += 1;
            continue;
        }
        result.due.record(stored.received_at, &effective);
        let rate = match starts {
            Some(starts) => sampled_rate(&stored, &effective, starts),
            None => Some(stored.sample_rate),
        };
        match rate {
            Some(rate) => {
                stored.sample_rate = rate;
                result.kept.push(stored);
            }
            None => result.sampled_out += 1,
        }
    }
    result
}

fn is_expired(age: Duration, ends_after: Option<Duration>) -> bool {
    ends_after.is_some_and(|ends| age > ends)
}

/// The sample rate of a row that is kept; `None` for a row that is sampled out. A row whose
/// conversation has no summary is kept, because its sampling needs the conversation's start.
fn sampled_rate(
    stored: &StoredEvent,
    effective: &Effective<'_>,
    starts: &ConversationStarts,
) -> Option<f64> {
    let sampling = effective.cold.rules.sampling.as_ref();
    let (Some(sampling), Some(start)) = (sampling, starts.start_of(stored)) else {
        return Some(stored.sample_rate);
    };
    let event = &stored.event;
    let metadata = event.metadata.as_str();
    let decision = sampling.decide(&SampleSubject {
        event_id: event.event_id,
        task_id: event.task_id.as_deref(),
        tenant: event.tenant.as_str(),
        conversation: event.conversation_id.as_str(),
        event_type: event.event_type.as_str(),
        labels: &metadata,
        timestamp: event.timestamp,
        conversation_start: start,
    });
    decision.keep.then_some(decision.rate)
}
