//! Kubernetes events for status transitions. Pure: computed by comparing the old status with the new
//! one, so that a restart does not repeat events.

use k8s_api::{Shortening, Status, condition as c};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType};

/// Returns the events of the transition from `old` to `new`.
pub(crate) fn between(old: Option<&Status>, new: &Status) -> Vec<Event> {
    let mut events = Vec::new();
    for condition in &new.conditions {
        let before = find(old, &condition.type_);
        let changed = before.is_none_or(|before| {
            before.status != condition.status || before.reason != condition.reason
        });
        if changed {
            events.extend(condition_event(condition, before));
        }
    }
    let scheduled_before: Vec<_> = old.iter().flat_map(|old| &old.pending_shortening).collect();
    let new = new.pending_shortening.iter();
    let scheduled: Vec<String> = new
        .filter(|own| !scheduled_before.contains(own))
        .map(sentence)
        .collect();
    if !scheduled.is_empty() {
        let note = scheduled.join("; ");
        events.push(event(EventType::Warning, c::SHORTENING_SCHEDULED, note));
    }
    events
}

fn sentence(shortening: &Shortening) -> String {
    let until = shortening.until.as_ref().map(|time| time.0.to_string());
    let Shortening { tier, from, to, .. } = shortening;
    format!(
        "{tier} keeps {from} until {}, then {to}",
        until.unwrap_or_default()
    )
}

fn condition_event(condition: &Condition, before: Option<&Condition>) -> Option<Event> {
    let note = condition.message.clone();
    let is = |type_: &str, status: &str| condition.type_ == type_ && condition.status == status;
    if is(c::ACCEPTED, "True") {
        return Some(event(EventType::Normal, c::ACCEPTED, note));
    }
    if is(c::ACCEPTED, "False") {
        return Some(event(EventType::Warning, &condition.reason, note));
    }
    if is(c::CONFLICTED, "True") {
        return Some(event(EventType::Warning, c::CONFLICTED, note));
    }
    if is(c::PROGRAMMED, "True") {
        return Some(event(EventType::Normal, c::PROGRAMMED, note));
    }
    let enforced = before.is_some_and(|before| before.reason == c::ENFORCING);
    let starts = is(c::READY, "True") && condition.reason == c::ENFORCING && !enforced;
    starts.then(|| event(EventType::Normal, c::ENFORCEMENT_STARTED, note))
}

fn find<'a>(status: Option<&'a Status>, type_: &str) -> Option<&'a Condition> {
    let mut conditions = status?.conditions.iter();
    conditions.find(|own| own.type_ == type_)
}

fn event(type_: EventType, reason: &str, note: String) -> Event {
    Event {
        type_,
        reason: reason.to_owned(),
        // The API server accepts notes of at most 1 kB; 250 characters are at most 1000 bytes of UTF-8.
        note: Some(note.chars().take(250).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_api::{Shortening, Status};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

    use super::between;

    fn status(ready: (&str, &str), waits: bool) -> Status {
        let condition = |type_: &str, (status, reason): (&str, &str)| Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        };
        let shortening = waits.then(Shortening::default);
        Status {
            conditions: vec![
                condition("Accepted", ("True", "Valid")),
                condition("Ready", ready),
            ],
            pending_shortening: shortening.into_iter().collect(),
            ..Status::default()
        }
    }

    fn reasons(old: Option<&Status>, new: &Status) -> Vec<String> {
        between(old, new)
            .into_iter()
            .map(|event| event.reason)
            .collect()
    }

    #[test]
    fn only_transitions_become_events() {
        let waiting = status(("False", "NotProgrammed"), false);
        let dry = status(("True", "DryRun"), false);
        let enforcing = status(("True", "Enforcing"), true);
        assert_eq!(reasons(None, &waiting), ["Accepted"]);
        assert_eq!(reasons(Some(&waiting), &dry), [""; 0]);
        let expected = ["EnforcementStarted", "ShorteningScheduled"];
        assert_eq!(reasons(Some(&dry), &enforcing), expected);
        assert_eq!(reasons(Some(&enforcing), &enforcing), [""; 0]);
    }
}
