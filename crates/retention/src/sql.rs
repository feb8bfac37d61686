//! The rules as SQL over the table `events` (DuckDB), so that the numbers of a preview come from
//! one scan. Ages are microseconds since the log took the event.
//!
//! What SQL cannot say is left out: which rows sampling would thin out.

use std::fmt::Write as _;

use crate::rules::{Cold, Expression, Operator, Policy, RuleSet, Selector, Warm};

/// For ever, as an age.
const FOREVER: u64 = 9_000_000_000_000_000_000;
/// What a row weighs: its content before compression.
const BYTES: &str = "content_len";

/// One row, `hot_events, hot_bytes, warm_events, warm_bytes, cold_events, cold_bytes`: what is past
/// its age by `after` and not by `before`, at `now_us`. Of cold are counted the rows that end.
#[must_use]
pub fn preview_sql(before: &RuleSet, after: &RuleSet, now_us: u64) -> String {
    let mut columns = String::new();
    let mut counts = Vec::new();
    for (tier, age) in [
        ("hot", hot_age as fn(&RuleSet) -> String),
        ("warm", warm_age),
        ("cold", end),
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

/// Rows `hot, warm, cold, in_hot, in_warm, events, bytes, oldest_us`: how many events there are
/// for which these policies of `rules.policies`, by index, decide in each tier.
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

/// A row with the number of conversations that each of `policies` selects by tenant and name. The
/// summaries that an answer is made of are those of one tenant.
#[must_use]
pub fn selects_sql(policies: &[Policy], tenant: &str) -> String {
    let counts = policies.iter().enumerate().map(|(index, policy)| {
        let selected = names(&policy.selector);
        format!("count(*) FILTER ({selected}) AS p{index}")
    });
    let counts: Vec<String> = counts.collect();
    format!(
        "SELECT {} FROM (SELECT {} AS tenant, conversation_id FROM conversation_summary) AS named",
        counts.join(", "),
        text(tenant)
    )
}

fn age_and_bytes(now_us: u64) -> String {
    format!("{now_us} - epoch_us(received_at) AS age, {BYTES} AS bytes")
}

/// The tier trims whole conversations: one stays as long as the longest rule that any of its
/// events may fall under, up to the first that all of them fall under.
fn hot_age(rules: &RuleSet) -> String {
    let lists = rules.generations().map(|policies| {
        let mut ages = Vec::new();
        let mut taken: Vec<String> = Vec::new();
        for (policy, hot) in with(policies, |policy| policy.hot.as_ref()) {
            let free = taken.iter().map(|taken| format!(" AND NOT ({taken})"));
            let free: String = free.collect();
            let selected = names(&policy.selector);
            let age = micros(Some(hot.max_age_ms));
            ages.push(format!("CASE WHEN {selected}{free} THEN {age} ELSE 0 END"));
            if rest(&policy.selector).is_empty() {
                taken.push(selected);
            }
        }
        greatest(&ages)
    });
    greatest(&lists.collect::<Vec<_>>())
}

fn warm_age(rules: &RuleSet) -> String {
    by_first(
        rules,
        |policy| policy.warm.as_ref(),
        |warm: &Warm| micros(Some(warm.max_age_ms)),
    )
}

/// The age at which nothing is left of an event.
fn end(rules: &RuleSet) -> String {
    let cold = |cold: &Cold| match (cold.disabled, cold.max_age_ms) {
        (true, _) => "0".to_owned(),
        (false, ms) => micros(ms),
    };
    let cold = by_first(rules, |policy| policy.cold.as_ref(), cold);
    greatest(&[cold, warm_age(rules)])
}

fn by_first<'a, T: 'a>(
    rules: &'a RuleSet,
    tier: impl Fn(&'a Policy) -> Option<&'a T> + Copy,
    age: impl Fn(&T) -> String,
) -> String {
    let lists = rules.generations().map(|policies| {
        let cases = with(policies, tier).map(|(policy, rule)| {
            format!(" WHEN {} THEN {}", selects(&policy.selector), age(rule))
        });
        format!("CASE{} END", cases.collect::<String>())
    });
    greatest(&lists.collect::<Vec<_>>())
}

fn winner(policies: &[Policy], has: impl Fn(&Policy) -> bool) -> String {
    let those = policies.iter().enumerate();
    let those = those.filter(|(_, policy)| !policy.dry_run && has(policy));
    let cases =
        those.map(|(index, policy)| format!(" WHEN {} THEN {index}", selects(&policy.selector)));
    format!("CASE{} END", cases.collect::<String>())
}

fn with<'a, T: 'a>(
    policies: &'a [Policy],
    tier: impl Fn(&'a Policy) -> Option<&'a T>,
) -> impl Iterator<Item = (&'a Policy, &'a T)> {
    let enforced = policies.iter().filter(|policy| !policy.dry_run);
    enforced.filter_map(move |policy| Some((policy, tier(policy)?)))
}

fn micros(ms: Option<u64>) -> String {
    ms.map_or(FOREVER, |ms| ms.saturating_mul(1000).min(FOREVER))
        .to_string()
}

fn greatest(texts: &[String]) -> String {
    match texts {
        [one] => one.clone(),
        all => format!("greatest({})", all.join(", ")),
    }
}

fn selects(selector: &Selector) -> String {
    let mut parts = vec![names(selector)];
    parts.extend(rest(selector));
    parts.join(" AND ")
}

/// What a conversation shows without its events.
fn names(selector: &Selector) -> String {
    let parts = [
        ("tenant", &selector.tenants),
        ("conversation_id", &selector.conversations),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter_map(|(column, globs)| any(column, globs))
        .collect();
    if parts.is_empty() {
        "true".to_owned()
    } else {
        parts.join(" AND ")
    }
}

/// What only an event shows.
fn rest(selector: &Selector) -> Vec<String> {
    let types = any("type", &selector.event_types);
    let labels = selector.match_labels.iter();
    let labels =
        labels.map(|(key, value)| format!("coalesce({} = {}, false)", label(key), text(value)));
    let expressions = selector.match_expressions.iter().map(expression);
    types.into_iter().chain(labels).chain(expressions).collect()
}

fn any(column: &str, globs: &[String]) -> Option<String> {
    let likes = globs
        .iter()
        .map(|glob| format!("{column} LIKE {} ESCAPE '\\'", text(&like(glob))));
    let likes: Vec<String> = likes.collect();
    (!likes.is_empty()).then(|| format!("({})", likes.join(" OR ")))
}

fn like(glob: &str) -> String {
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

/// A text or number or truth value of the metadata as text, else NULL.
fn label(key: &str) -> String {
    let path = text(&format!(
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
    let values: Vec<String> = expression.values.iter().map(|value| text(value)).collect();
    let values = values.join(", ");
    match expression.operator {
        Operator::In => format!("coalesce({label} IN ({values}), false)"),
        Operator::NotIn => format!("coalesce({label} NOT IN ({values}), true)"),
        Operator::Exists => format!("({label}) IS NOT NULL"),
        Operator::DoesNotExist => format!("({label}) IS NULL"),
    }
}

fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests;
