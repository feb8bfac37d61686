//! Validation of a policy: the rules of the custom resource definition, with its messages.

use std::{collections::BTreeMap, fmt};

use crate::{
    quantity::{self, AGE_HINT},
    retention_policy::{
        Action, Cold, Expression, Hot, Operator, RENAMED_STREAMS, RetentionPolicy, Rule, Sample,
        Sampling, Selector, Strategy, Tiers, Warm,
    },
};

/// A broken rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, for example `spec.tiers.hot.maxAge`.
    pub path: String,
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Validates `policy`; returns every broken rule, none if it is valid.
#[must_use]
pub fn validate(policy: &RetentionPolicy) -> Vec<Violation> {
    let mut violations = Violations::default();
    let name = policy.name();
    violations.unless(is_resource_name(name), "metadata.name", || {
        format!("is {name:?}: use small letters, digits, '-' and '.', and begin and end with a letter or digit")
    });
    violations.unless(name.len() <= 63, "metadata.name", || {
        "a policy's name must be 63 characters or less, it becomes a label".to_owned()
    });
    let spec = &policy.spec;
    violations.unless(
        (0..=10_000).contains(&spec.priority),
        "spec.priority",
        || format!("is {}: must be from 0 to 10000", spec.priority),
    );
    let grace = &spec.deletion_grace_period;
    let units = ["0s", "0m", "0h", "0d"];
    let valid = units.contains(&grace.as_str()) || quantity::age_ms(grace, 9).is_some();
    violations.unless(valid, "spec.deletionGracePeriod", || age_message(grace));
    let schedule = spec.archive.as_ref().map(|archive| &archive.schedule);
    violations.unless(
        schedule.is_none_or(|own| is_schedule(own)),
        "spec.archive.schedule",
        || "write five cron fields, for example */5 * * * * for every five minutes".to_owned(),
    );
    violations.selector(&spec.selector);
    violations.tiers(&spec.tiers);
    violations.0
}

/// The violations found so far.
#[derive(Default)]
struct Violations(Vec<Violation>);

impl Violations {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Violation {
            path: path.into(),
            message: message.into(),
        });
    }

    /// Adds a violation unless the rule holds.
    fn unless(&mut self, holds: bool, path: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.add(path, message());
        }
    }

    fn selector(&mut self, selector: &Selector) {
        self.globs("spec.selector.tenants", &selector.tenants);
        self.globs("spec.selector.conversations", &selector.conversations);
        self.unless(selector.streams.is_none(), "spec.selector.streams", || {
            RENAMED_STREAMS.to_owned()
        });
        self.globs("spec.selector.eventTypes", &selector.event_types);
        self.labels("spec.selector.matchLabels", &selector.match_labels);
        let path = "spec.selector.matchExpressions";
        self.at_most(path, selector.match_expressions.len(), 16);
        for (index, expression) in selector.match_expressions.iter().enumerate() {
            self.expression(&format!("{path}[{index}]"), expression);
        }
    }

    fn expression(&mut self, path: &str, expression: &Expression) {
        let key = expression.key.chars().count();
        self.unless((1..=128).contains(&key), &format!("{path}.key"), || {
            "must have 1 to 128 characters".to_owned()
        });
        self.at_most(&format!("{path}.values"), expression.values.len(), 64);
        for (index, value) in expression.values.iter().enumerate() {
            self.length(&format!("{path}.values[{index}]"), value);
        }
        let needed = matches!(expression.operator, Operator::In | Operator::NotIn);
        self.unless(needed != expression.values.is_empty(), path, || {
            "values are needed for In and NotIn, and only for them".to_owned()
        });
    }

    fn globs(&mut self, path: &str, globs: &[String]) {
        self.unless(globs.len() <= 64, path, || {
            let count = globs.len();
            format!(
                "has {count} items: at most 64 are allowed, write globs such as case-* or a \
                 second policy"
            )
        });
        for (index, glob) in globs.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let length = glob.chars().count();
            self.unless((1..=256).contains(&length), &path, || {
                "must have 1 to 256 characters".to_owned()
            });
            self.unless(
                !glob.bytes().any(|byte| byte.is_ascii_control()),
                &path,
                || "must not contain control characters".to_owned(),
            );
            self.unless(!globs[..index].contains(glob), &path, || {
                format!("{glob:?} is there twice")
            });
        }
    }

    fn labels(&mut self, path: &str, labels: &BTreeMap<String, String>) {
        self.at_most(path, labels.len(), 16);
        for (key, value) in labels {
            self.length(&format!("{path}.{key}"), value);
        }
    }

    fn length(&mut self, path: &str, value: &str) {
        self.unless(value.chars().count() <= 256, path, || {
            "must have at most 256 characters".to_owned()
        });
    }

    fn at_most(&mut self, path: &str, count: usize, most: usize) {
        self.unless(count <= most, path, || {
            format!("has {count} items: at most {most} are allowed")
        });
    }

    fn tiers(&mut self, tiers: &Tiers) {
        let hot = tiers.hot.as_ref().and_then(|tier| self.hot(tier));
        let warm = tiers.warm.as_ref().and_then(|tier| self.warm(tier));
        let cold = tiers.cold.as_ref().and_then(|tier| self.cold(tier));
        let none = tiers.hot.is_none() && tiers.warm.is_none() && tiers.cold.is_none();
        self.unless(!none, "spec.tiers", || {
            "must have at least one of hot, warm and cold".to_owned()
        });
        let mut order = |shorter: Option<u64>, longer: Option<u64>, from: &str, to: &str| {
            let holds = shorter
                .zip(longer)
                .is_none_or(|(shorter, longer)| shorter <= longer);
            self.unless(holds, &format!("spec.tiers.{from}.maxAge"), || {
                format!("tiers.{from}.maxAge must not be longer than tiers.{to}.maxAge")
            });
        };
        order(hot, warm, "hot", "warm");
        order(warm, cold, "warm", "cold");
        if tiers.warm.is_none() {
            order(hot, cold, "hot", "cold");
        }
    }

    // `hot`, `warm` and `cold` return the tier's age in milliseconds, if it is valid and not Forever.

    fn hot(&mut self, tier: &Hot) -> Option<u64> {
        let enough = tier.max_events_per_stream.is_none_or(|count| count >= 1);
        self.unless(enough, "spec.tiers.hot.maxEventsPerStream", || {
            "must be at least 1".to_owned()
        });
        self.age("spec.tiers.hot.maxAge", &tier.max_age)
    }

    fn warm(&mut self, tier: &Warm) -> Option<u64> {
        let valid = tier
            .max_bytes
            .as_ref()
            .is_none_or(|bytes| quantity::bytes(bytes).is_some());
        self.unless(valid, "spec.tiers.warm.maxBytes", || {
            "must be more than 0 bytes, a whole number or one with a unit, for example 200Gi"
                .to_owned()
        });
        self.age("spec.tiers.warm.maxAge", &tier.max_age)
    }

    fn cold(&mut self, tier: &Cold) -> Option<u64> {
        if let Some(sampling) = &tier.sampling {
            self.unless(!tier.disabled, "spec.tiers.cold", || {
                "sampling has no effect while the cold tier is disabled".to_owned()
            });
            self.sampling(sampling);
        }
        if tier.max_age == "Forever" {
            return None;
        }
        let age = quantity::age_ms(&tier.max_age, 5);
        self.unless(age.is_some(), "spec.tiers.cold.maxAge", || {
            format!("{}, or Forever", age_message(&tier.max_age))
        });
        age
    }

    fn age(&mut self, path: &str, text: &str) -> Option<u64> {
        let age = quantity::age_ms(text, 5);
        self.unless(age.is_some(), path, || age_message(text));
        age
    }

    fn sampling(&mut self, sampling: &Sampling) {
        let path = "spec.tiers.cold.sampling.rules";
        self.at_most(path, sampling.rules.len(), 32);
        for (index, rule) in sampling.rules.iter().enumerate() {
            let twice = sampling.rules[..index]
                .iter()
                .any(|other| other.name == rule.name);
            self.unless(!twice, &format!("{path}[{index}].name"), || {
                format!("{:?} is there twice", rule.name)
            });
            self.rule(&format!("{path}[{index}]"), rule);
        }
    }

    fn rule(&mut self, path: &str, rule: &Rule) {
        let valid =
            rule.name.len() <= 63 && !rule.name.contains('.') && is_resource_name(&rule.name);
        self.unless(valid, &format!("{path}.name"), || {
            "must have 1 to 63 small letters, digits and '-', and begin and end with a letter or digit"
                .to_owned()
        });
        self.globs(&format!("{path}.eventTypes"), &rule.event_types);
        self.labels(&format!("{path}.matchLabels"), &rule.match_labels);
        self.unless(
            (rule.action == Action::Sample) == rule.sample.is_some(),
            path,
            || "sample must be set when action is Sample, and only then".to_owned(),
        );
        if let Some(sample) = &rule.sample {
            self.sample(&format!("{path}.sample"), sample);
        }
    }

    fn sample(&mut self, path: &str, sample: &Sample) {
        for (name, percent) in [
            ("percent", sample.percent),
            ("minPercent", sample.min_percent),
        ] {
            let valid = percent.is_none_or(|percent| (0..=100).contains(&percent));
            self.unless(valid, &format!("{path}.{name}"), || {
                "must be from 0 to 100".to_owned()
            });
        }
        if let Some(unit) = &sample.decay_unit {
            self.age(&format!("{path}.decayUnit"), unit);
        }
        let decays = sample.min_percent.is_some() || sample.decay_unit.is_some();
        match sample.strategy {
            Strategy::Fixed => {
                self.unless(sample.percent.is_some(), path, || {
                    "percent is required for strategy Fixed".to_owned()
                });
                self.unless(!decays, path, || {
                    "minPercent and decayUnit are only for strategy LogDecay".to_owned()
                });
            }
            Strategy::LogDecay => self.unless(sample.percent.is_none(), path, || {
                "percent is only for strategy Fixed; LogDecay takes minPercent and decayUnit"
                    .to_owned()
            }),
        }
    }
}

fn age_message(text: &str) -> String {
    let weeks = text
        .strip_suffix('w')
        .and_then(|number| number.parse::<u32>().ok());
    match weeks.and_then(|weeks| weeks.checked_mul(7)) {
        Some(days) if days > 0 => format!("{text:?} is no age, there are no weeks: write {days}d"),
        _ => format!("{text:?} is no age: {AGE_HINT}"),
    }
}

/// Returns true for five fields separated by one space; the CronJob validates their values.
fn is_schedule(text: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "-*/,?".contains(c);
    let fields: Vec<&str> = text.split(' ').collect();
    let full = |field: &&str| !field.is_empty() && field.chars().all(known);
    fields.len() == 5 && text.len() <= 128 && fields.iter().all(full)
}

/// Returns true for a name that Kubernetes accepts for an object.
fn is_resource_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=253).contains(&name.len())
        && name.starts_with(letter)
        && name.ends_with(letter)
        && name.chars().all(|c| letter(c) || c == '-' || c == '.')
}

#[cfg(test)]
mod tests;
