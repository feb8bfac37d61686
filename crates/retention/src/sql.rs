//! The rules as SQL over the table `events` (DuckDB), so that the numbers of a preview come from
//! one scan. Ages are microseconds since `received_at`.
//!
//! Sampling is left out: SQL cannot compute which rows it keeps.

use std::fmt::Write as _;

use crate::rules::{Cold, Expression, Operator, Policy, RuleSet, Selector, Warm};

/// An age that no event reaches, in microseconds: near the largest `BIGINT`.
const FOREVER_MICROS: u64 = 9_000_000_000_000_000_000;
/// The column of a row's bytes: those of its content, before compression.
const BYTES_COLUMN: &str = "content_len";

/// A query for what a change from `before` to `after` would expire at `now_us` (microseconds since 1970).
///
/// It returns one row, `hot_events, hot_bytes, warm_events, warm_bytes, cold_events, cold_bytes`: the
/// events that are past their age by `after` and not by `before`. `cold` counts the events that would
/// be in no tier any more.
#[must_use]
pub fn preview_sql(before: &RuleSet, after: &RuleSet, now_us: u64) -> String {
    let mut columns = String::new();
    let mut counts = Vec::new();
    for (tier, age) in [
        ("hot", hot_age as fn(&RuleSet) -> String),
        ("warm", warm_age),
        ("cold", final_age),
    ] {
        let _ = write!(
            columns,
            ", {} AS {tier}_before, {} AS {tier}_after",
            age(before),
            age(after)
        );
        let leaves = format!("age >= {tier}_after AND age < {tier}_before");
        counts.push(format!(
            "count(*) FILTER ({leaves}) AS {tier}_events, \
             coalesce(sum(bytes) FILTER ({leaves}), 0)::BIGINT AS {tier}_bytes"
        ));
    }
    let counts = counts.join(", ");
    format!(
        "SELECT {counts} FROM (SELECT {}{columns} FROM events) AS aged",
        age_and_bytes(now_us)
    )
}

/// A query for the events of each policy at `now_us` (microseconds since 1970).
///
/// It returns rows `hot, warm, cold, in_hot, in_warm, events, bytes, oldest_us`: the number of events
/// about which these policies, as indexes of `rules.policies`, decide in each tier.
#[must_use]
pub fn tiers_sql(rules: &RuleSet, now_us: u64) -> String {
    let winner = |has: fn(&Policy) -> bool| winner(&rules.policies, has);
    format!(
        "SELECT hot, warm, cold, in_hot, in_warm, count(*) AS events, sum(bytes)::BIGINT AS bytes, \
         min(received) AS oldest_us FROM (SELECT hot, warm, cold, bytes, received, \
         age < hot_age AS in_hot, age < warm_age AS in_warm FROM (SELECT {}, \
         epoch_us(received_at) AS received, {} AS hot, {} AS warm, {} AS cold, \
         {} AS hot_age, {} AS warm_age FROM events) AS judged) AS placed GROUP BY ALL",
        age_and_bytes(now_us),
        winner(|policy| policy.hot.is_some()),
        winner(|policy| policy.warm.is_some()),
        winner(|policy| policy.cold.is_some()),
        hot_age(rules),
        warm_age(rules),
    )
}

/// A query for the number of conversations of `tenant` that each of `policies` selects by tenant and
/// name. It returns one row with the columns `p0, p1, ...`, one per policy.
#[must_use]
pub fn selects_sql(policies: &[Policy], tenant: &str) -> String {
    let counts = policies.iter().enumerate().map(|(index, policy)| {
        let selected = conversation_condition(&policy.selector);
        format!("count(*) FILTER ({selected}) AS p{index}")
    });
    let counts: Vec<String> = counts.collect();
    format!(
        "SELECT {} FROM (SELECT {} AS tenant, conversation_id FROM conversation_summary) AS named",
        counts.join(", "),
        quoted(tenant)
    )
}

fn age_and_bytes(now_us: u64) -> String {
    format!("{now_us} - epoch_us(received_at) AS age, {BYTES_COLUMN} AS bytes")
}

/// An expression for a row's age limit in the hot tier. The tier trims whole conversations: one stays
/// for the longest age of the rules that may apply to any of its events. The rules end with the first
/// that applies to all events of the conversation.
fn hot_age(rules: &RuleSet) -> String {
    let lists = rules.generations().map(|policies| {
        let mut ages = Vec::new();
        let mut decided: Vec<String> = Vec::new();
        for (policy, hot) in enforced_with(policies, |policy| policy.hot.as_ref()) {
            let undecided = decided
                .iter()
                .map(|decided| format!(" AND NOT ({decided})"));
            let undecided: String = undecided.collect();
            let selected = conversation_condition(&policy.selector);
            let age = micros(Some(hot.max_age_ms));
            ages.push(format!(
                "CASE WHEN {selected}{undecided} THEN {age} ELSE 0 END"
            ));
            if event_conditions(&policy.selector).is_empty() {
                decided.push(selected);
            }
        }
        greatest(&ages)
    });
    greatest(&lists.collect::<Vec<_>>())
}

/// An expression for a row's age limit in the warm tier.
fn warm_age(rules: &RuleSet) -> String {
    by_first(
        rules,
        |policy| policy.warm.as_ref(),
        |warm: &Warm| micros(Some(warm.max_age_ms)),
    )
}

/// An expression for the age at which a row expires from every tier.
fn final_age(rules: &RuleSet) -> String {
    let cold = |cold: &Cold| match (cold.disabled, cold.max_age_ms) {
        (true, _) => "0".to_owned(),
        (false, ms) => micros(ms),
    };
    let cold = by_first(rules, |policy| policy.cold.as_ref(), cold);
    greatest(&[cold, warm_age(rules)])
}

/// An expression for the age limit by the first policy that selects a row and has the tier.
fn by_first<'a, T: 'a>(
    rules: &'a RuleSet,
    tier: impl Fn(&'a Policy) -> Option<&'a T> + Copy,
    age: impl Fn(&T) -> String,
) -> String {
    let lists = rules.generations().map(|policies| {
        let cases = enforced_with(policies, tier).map(|(policy, rule)| {
            format!(" WHEN {} THEN {}", selects(&policy.selector), age(rule))
        });
        format!("CASE{} END", cases.collect::<String>())
    });
    greatest(&lists.collect::<Vec<_>>())
}

/// An expression for the index of the first policy that selects a row and has the tier.
fn winner(policies: &[Policy], has: impl Fn(&Policy) -> bool) -> String {
    let candidates = policies.iter().enumerate();
    let candidates = candidates.filter(|(_, policy)| !policy.dry_run && has(policy));
    let cases = candidates
        .map(|(index, policy)| format!(" WHEN {} THEN {index}", selects(&policy.selector)));
    format!("CASE{} END", cases.collect::<String>())
}

/// The policies without dry run that have the tier, with their rules for it.
fn enforced_with<'a, T: 'a>(
    policies: &'a [Policy],
    tier: impl Fn(&'a Policy) -> Option<&'a T>,
) -> impl Iterator<Item = (&'a Policy, &'a T)> {
    let enforced = policies.iter().filter(|policy| !policy.dry_run);
    enforced.filter_map(move |policy| Some((policy, tier(policy)?)))
}

fn micros(ms: Option<u64>) -> String {
    ms.map_or(FOREVER_MICROS, |ms| {
        ms.saturating_mul(1000).min(FOREVER_MICROS)
    })
    .to_string()
}

fn greatest(texts: &[String]) -> String {
    match texts {
        [one] => one.clone(),
        all => format!("greatest({})", all.join(", ")),
    }
}

/// The condition for the rows that `selector` selects.
fn selects(selector: &Selector) -> String {
    let mut parts = vec![conversation_condition(selector)];
    parts.extend(event_conditions(selector));
    parts.join(" AND ")
}

/// The part of the condition that is the same for all events of a conversation.
fn conversation_condition(selector: &Selector) -> String {
    let parts = [
        ("tenant", &selector.tenants),
        ("conversation_id", &selector.conversations),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter_map(|(column, globs)| matches_any(column, globs))
        .collect();
    if parts.is_empty() {
        "true".to_owned()
    } else {
        parts.join(" AND ")
    }
}

/// The parts of the condition that need the event itself.
fn event_conditions(selector: &Selector) -> Vec<String> {
    let types = matches_any("type", &selector.event_types);
    let labels = selector.match_labels.iter();
    let labels =
        labels.map(|(key, value)| format!("coalesce({} = {}, false)", label(key), quoted(value)));
    let expressions = selector.match_expressions.iter().map(expression);
    types.into_iter().chain(labels).chain(expressions).collect()
}

/// The condition that `column` matches one of `globs`; `None` if there are none.
fn matches_any(column: &str, globs: &[String]) -> Option<String> {
    let likes = globs
        .iter()
        .map(|glob| format!("{column} LIKE {} ESCAPE '\\'", quoted(&like_pattern(glob))));
    let likes: Vec<String> = likes.collect();
    (!likes.is_empty()).then(|| format!("({})", likes.join(" OR ")))
}

/// The pattern of `LIKE` that matches what `glob` does.
fn like_pattern(glob: &str) -> String {
    let mut like = String::new();
    for c in glob.chars() {
        match c {
            '*' => like.push('%'),
            '?' => like.push('_'),
            '%' | '_' | '\\' => like.extend(['\\', c]),
            c => like.push(c),
        }
    }
    like
}

/// An expression for a string, number or boolean of the metadata as text; NULL if there is none.
fn label(key: &str) -> String {
    let path = quoted(&format!(
        "$.\"{}\"",
        key.replace('\\', "\\\\").replace('"', "\\\"")
    ));
    format!(
        "CASE WHEN json_valid(metadata) AND json_type(metadata, {path}) NOT IN ('OBJECT', 'ARRAY', 'NULL') \
         THEN json_extract_string(metadata, {path}) END"
    )
}

fn expression(expression: &Expression) -> String {
    let label = label(&expression.key);
    let values: Vec<String> = expression
        .values
        .iter()
        .map(|value| quoted(value))
        .collect();
    let values = values.join(", ");
    match expression.operator {
        Operator::In => format!("coalesce({label} IN ({values}), false)"),
        Operator::NotIn => format!("coalesce({label} NOT IN ({values}), true)"),
        Operator::Exists => format!("({label}) IS NOT NULL"),
        Operator::DoesNotExist => format!("({label}) IS NULL"),
    }
}

/// A string literal.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests;
