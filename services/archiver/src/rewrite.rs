//! Which rows of an ageing file stay. Pure: rows, rules, a time, and where conversations began.

use std::{collections::HashMap, time::Duration};

use event::{Position, StoredEvent, Timestamp};
use retention::{Effective, RuleSet, SampleSubject, Subject};

/// The place and the event time of the first event of each (tenant, conversation).
#[derive(Debug, Default)]
pub(crate) struct ConversationStarts(HashMap<(String, String), (Position, Timestamp)>);

impl ConversationStarts {
    /// Of all that is told about a conversation the least position holds.
    pub(crate) fn note(&mut self, conversation: (String, String), at: Position, time: Timestamp) {
        let start = self.0.entry(conversation).or_insert((at, time));
        if at < start.0 {
            *start = (at, time);
        }
    }

    fn of(&self, stored: &StoredEvent) -> Option<Timestamp> {
        let event = &stored.event;
        let key = (event.tenant.to_string(), event.conversation_id.to_string());
        self.0.get(&key).map(|(_, time)| *time)
    }
}

/// What became of the rows of a file: `kept + sampled_out + expired` is what it had.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RewriteResult {
    /// With the rate by which sampling kept them.
    pub(crate) kept: Vec<StoredEvent>,
    pub(crate) sampled_out: u64,
    pub(crate) expired: u64,
    /// Rows that the warm tier still has to keep: not yet.
    pub(crate) still_in_warm: u64,
}

/// Judges `rows`; with `starts` they are sampled too.
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
        if is_past(age, effective.ends_after()) {
            result.expired += 1;
            continue;
        }
        match starts.map_or(Some(stored.sample_rate), |starts| {
            kept_rate(&stored, &effective, starts)
        }) {
            Some(rate) => {
                stored.sample_rate = rate;
                result.kept.push(stored);
            }
            None => result.sampled_out += 1,
        }
    }
    result
}

fn is_past(age: Duration, ends_after: Option<Duration>) -> bool {
    ends_after.is_some_and(|ends| age > ends)
}

/// The rate of a row that stays; `None` when it goes. A row whose conversation has no summary is
/// kept: nothing is thrown away on a guess.
fn kept_rate(
    stored: &StoredEvent,
    effective: &Effective<'_>,
    starts: &ConversationStarts,
) -> Option<f64> {
    let sampling = effective.cold.rules.sampling.as_ref();
    let (Some(sampling), Some(start)) = (sampling, starts.of(stored)) else {
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
