//! `isotherm policy explain`: which policy holds for an event, per tier, and why it is kept.

use std::{collections::BTreeMap, path::PathBuf};

use retention::{Effective, Subject, SubjectLabels};

use super::{age, cold_age, compile_file, connect};
use crate::{
    args::Common,
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

pub(super) async fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let rules = match &args.file {
        Some(file) => compile_file(file)?,
        None => connect(&common.nats_url).await?.policy().await?,
    };
    let labels = Labels(args.labels.iter().cloned().collect());
    let subject = Subject {
        tenant: &args.tenant,
        conversation: &args.conversation,
        event_type: &args.event_type,
        labels: &labels,
    };
    output::rows(common.output, &rows(&rules.effective(&subject), args))?;
    Ok(())
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

/// The sampling rule that decides.
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
