//! Rows past their age under the rules now in force are hidden at once, whatever tier still has
//! them. Pure.

use event::{StoredEvent, Timestamp};
use retention::{RuleSet, Subject};

/// Whether any event ever ends under `rules`, so that callers may skip the question.
pub(crate) fn anything_ends(rules: &RuleSet) -> bool {
    let mut colds = rules.in_force().filter_map(|policy| policy.cold.as_ref());
    colds.any(|cold| cold.disabled || cold.max_age_ms.is_some())
}

pub(crate) fn is_visible(rules: &RuleSet, row: &StoredEvent, now: Timestamp) -> bool {
    let event = &row.event;
    let subject = Subject {
        tenant: event.tenant.as_str(),
        conversation: event.conversation_id.as_str(),
        event_type: event.event_type.as_str(),
        labels: &event.metadata.as_str(),
    };
    is_live(rules, &subject, row.received_at, now)
}

pub(crate) fn is_live(
    rules: &RuleSet,
    subject: &Subject<'_>,
    received_at: Timestamp,
    now: Timestamp,
) -> bool {
    let age = rules.effective(subject).ends_after();
    age.is_none_or(|age| now < received_at.plus(age))
}
