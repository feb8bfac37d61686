//! `isotherm policy explain`: shows per tier which policy decides about an event, and why.

use std::{collections::BTreeMap, path::PathBuf};

use retention::{Effective, Policy, RuleSet, Subject, SubjectLabels};

use super::{age, cold_age, compile_file, connect};
use crate::{
    common::Common,
    output::{self, Row},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, value_name = "ID")]
    conversation: String,
    #[arg(long = "type", value_name = "TYPE")]
    event_type: String,
    #[arg(long, default_value = "default")]
    tenant: String,
    /// A top-level member of the event's metadata.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Vec<(String, String)>,
    /// Explain by this file instead of by what is in force.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug)]
struct Labels(BTreeMap<String, String>);

impl SubjectLabels for Labels {
    fn label(&self, key: &str) -> Option<String> {
        self.0.get(key).cloned()
    }
}

/// Prints a row for each tier.
pub(super) async fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let rules = match &args.file {
        Some(file) => compile_file(file)?,
        None => connect(&common.log.nats_url).await?.policy().await?,
    };
    let labels = Labels(args.labels.iter().cloned().collect());
    let subject = Subject {
        tenant: &args.tenant,
        conversation: &args.conversation,
        event_type: &args.event_type,
        labels: &labels,
    };
    let effective = rows(&rules.effective(&subject), args);
    let tiers: [fn(&Policy) -> bool; 3] = [
        |policy| policy.hot.is_some(),
        |policy| policy.warm.is_some(),
        |policy| policy.cold.is_some(),
    ];
    let reasons = tiers.map(|has_tier| reason(&rules, &subject, has_tier));
    let rows = effective.into_iter().zip(reasons);
    let rows: Vec<Row> = rows
        .map(|(row, reason)| row.with("because", reason))
        .collect();
    output::rows(common.output, &rows)?;
    Ok(())
}

/// Explains why the first matching policy with a rule for the tier wins.
fn reason(rules: &RuleSet, subject: &Subject<'_>, has_tier: fn(&Policy) -> bool) -> String {
    let policies = rules.policies.iter().filter(|policy| !policy.dry_run);
    let matching: Vec<&Policy> = policies
        .filter(|policy| policy.selector.matches(subject))
        .collect();
    let index = matching
        .iter()
        .position(|policy| has_tier(policy))
        .unwrap_or(0);
    let mut parts = Vec::new();
    let skipped: Vec<&str> = matching[..index]
        .iter()
        .map(|own| own.name.as_str())
        .collect();
    if !skipped.is_empty() {
        parts.push(format!(
            "{} leave{} it out",
            skipped.join(" and "),
            if skipped.len() == 1 { "s" } else { "" }
        ));
    }
    let next = matching[index + 1..].iter().find(|policy| has_tier(policy));
    parts.push(match (matching.get(index), next) {
        (Some(own), Some(next)) => precedence(own, next),
        _ => "it is the last that matches".to_owned(),
    });
    if !rules.before.is_empty() {
        parts.push(
            "where that is shorter, what was in force before holds until its grace period ends"
                .to_owned(),
        );
    }
    parts.join("; ")
}

/// Explains why `own` takes precedence over `next`.
fn precedence(own: &Policy, next: &Policy) -> String {
    let name = &next.name;
    if own.priority != next.priority {
        let (own, next) = (own.priority, next.priority);
        return format!("priority {own} is before {next} of {name}");
    }
    let priority = own.priority;
    if specificity(own) == specificity(next) {
        return format!(
            "{name} has priority {priority} too and is younger, or comes later by its name"
        );
    }
    format!("{name} has priority {priority} too and is less specific")
}

/// The fields by which a policy selects, the most significant first.
fn specificity(policy: &Policy) -> [bool; 4] {
    let selector = &policy.selector;
    [
        !selector.conversations.is_empty(),
        !selector.tenants.is_empty(),
        !selector.event_types.is_empty(),
        !selector.match_labels.is_empty() || !selector.match_expressions.is_empty(),
    ]
}

fn rows(effective: &Effective<'_>, args: &Args) -> Vec<Row> {
    let row = |tier: &str, age: String, policy: &str, note: String| {
        Row::default()
            .with("tier", tier)
            .with("age", age)
            .with("policy", policy)
            .with("note", note)
    };
    let (hot, warm, cold) = (&effective.hot, &effective.warm, &effective.cold);
    let most = hot.rules.max_events_per_stream;
    let most = most.map(|most| format!("at most {most} events of a conversation"));
    vec![
        row(
            "hot",
            age(hot.rules.max_age_ms),
            &hot.policy.name,
            most.unwrap_or_default(),
        ),
        row(
            "warm",
            age(warm.rules.max_age_ms),
            &warm.policy.name,
            String::new(),
        ),
        row(
            "cold",
            cold_age(&cold.rules),
            &cold.policy.name,
            sampling(&cold.rules, args),
        ),
    ]
}

/// Describes the sampling rule that decides about the event.
fn sampling(cold: &retention::Cold, args: &Args) -> String {
    let Some(sampling) = &cold.sampling else {
        return "kept whole".to_owned();
    };
    let decides = |rule: &&retention::Rule| {
        let types = &rule.event_types;
        let label = |(key, value): (&String, &String)| {
            args.labels
                .iter()
                .any(|label| (&label.0, &label.1) == (key, value))
        };
        (types.is_empty()
            || types
                .iter()
                .any(|glob| retention::glob_matches(glob, &args.event_type)))
            && rule.match_labels.iter().all(label)
    };
    match sampling.rules.iter().find(decides) {
        Some(rule) => format!("{:?} by rule {}", rule.action, rule.name),
        None => format!("{:?} by default", sampling.default_action),
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=');
    let (key, value) = pair.ok_or("write KEY=VALUE, for example environment=prod")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use retention::Selector;

    use super::{Policy, RuleSet, Subject, reason};

    fn policy(name: &str, priority: i32, conversations: &[&str]) -> Policy {
        Policy {
            name: name.to_owned(),
            priority,
            selector: Selector {
                conversations: conversations.iter().map(ToString::to_string).collect(),
                ..Selector::default()
            },
            hot: None,
            ..Policy::built_in()
        }
    }

    #[test]
    fn the_reason_names_the_policy_it_beat_and_those_without_the_tier() {
        let rules = RuleSet::new(vec![policy("a/high", 9, &["c*"]), policy("a/low", 9, &[])]);
        let subject = Subject {
            tenant: "default",
            conversation: "c1",
            event_type: "x",
            labels: &(),
        };
        assert_eq!(
            reason(&rules, &subject, |policy| policy.warm.is_some()),
            "a/low has priority 9 too and is less specific"
        );
        assert_eq!(
            reason(&rules, &subject, |policy| policy.hot.is_some()),
            "a/high and a/low leave it out; it is the last that matches"
        );
        let other = Subject {
            conversation: "d",
            ..subject
        };
        assert_eq!(
            reason(&rules, &other, |policy| policy.cold.is_some()),
            "priority 9 is before -1 of isotherm/built-in"
        );
    }
}
