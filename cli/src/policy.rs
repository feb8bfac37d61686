//! `isotherm policy`: RetentionPolicy objects from files, without a cluster.

mod acks;
mod explain;
mod preview;
mod syntax;

use std::{fs, path::Path, path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow};
use event_log::EventLog;
use retention::{Policy, RuleSet};

use crate::{
    common::Common,
    output::{self, Row},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Put the policies of one or more files in force, in place of all before.
    #[command(after_help = "Examples:
  isotherm policy apply default.yaml regulated.yaml
  isotherm policy apply default.yaml --dry-run     what would be in force, in order")]
    Apply {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Compile and show, change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Check files: every broken rule is listed with its field.
    Lint {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Say which policy holds for an event, per tier.
    #[command(after_help = "Example:
  isotherm policy explain --conversation case-7 --type output.chunk --label environment=prod")]
    Explain(explain::Args),
    /// Count what the policies of one or more files would move or end, and change nothing.
    #[command(after_help = "Example:
  isotherm policy preview default.yaml short.yaml")]
    Preview(preview::Args),
    /// Show the policies in force, the winner first.
    Show,
}

/// Runs a policy command.
pub(crate) async fn run(command: Command, common: &Common) -> anyhow::Result<()> {
    match command {
        Command::Apply { files, dry_run } => {
            let rules = compile_files(&files)?;
            if dry_run {
                return show(&rules, common);
            }
            apply(&rules, common).await
        }
        Command::Lint { files } => {
            let rules = compile_files(&files)?;
            // The built-in default is not from a file.
            let count = rules.policies.len() - 1;
            let line = format!("{count} policies, nothing to complain about\n");
            Ok(output::text(&line)?)
        }
        Command::Explain(args) => explain::run(&args, common).await,
        Command::Preview(args) => preview::run(&args, common).await,
        Command::Show => {
            let rules = connect(&common.log.nats_url).await?.policy().await?;
            show(&rules, common)
        }
    }
}

/// Parses and compiles the policies of one file.
pub(crate) fn compile_file(file: &Path) -> anyhow::Result<RuleSet> {
    compile_files(&[file.to_owned()])
}

fn compile_files(files: &[PathBuf]) -> anyhow::Result<RuleSet> {
    let mut policies = Vec::new();
    for file in files {
        let name = file.display();
        let bytes = fs::read(file).with_context(|| format!("read {name}"))?;
        let text = String::from_utf8(bytes).map_err(|_| {
            anyhow!("{name} is no text: give files of RetentionPolicy objects, as YAML or JSON")
        })?;
        let parsed = k8s_api::parse(&text).map_err(|error| {
            let error = syntax::explained(&error.to_string(), &text);
            anyhow!("read {name}: {error}")
        })?;
        anyhow::ensure!(!parsed.is_empty(), "{name} holds no RetentionPolicy");
        policies.extend(parsed);
    }
    let rules = k8s_api::compile(&policies);
    rules.map_err(|error| anyhow!("these policies cannot be used:\n{error}"))
}

/// Connects to the event log.
pub(crate) async fn connect(nats_url: &str) -> anyhow::Result<EventLog> {
    EventLog::connect_within(nats_url, "isotherm-cli", CONNECT_TIMEOUT)
        .await
        .with_context(|| {
            format!(
                "no NATS server answers at {nats_url}: start `isotherm dev`, or name the event log \
                 with --nats-url"
            )
        })
}

async fn apply(rules: &RuleSet, common: &Common) -> anyhow::Result<()> {
    let log = connect(&common.log.nats_url).await?;
    log.publish_policy(rules)
        .await
        .context("store the policies")?;
    // The hash that the services acknowledge: that of the rules in the log's own time.
    let hash = log.policy().await?.hash();
    let acks = acks::wait(&log, &hash).await?;
    output::rows(common.output, &acks::rows(&acks, &hash))?;
    let late = acks.iter().filter(|(_, acked)| *acked != hash).count();
    if late > 0 {
        output::note(&format!(
            "stored; {late} of {} do not follow yet and will as soon as they run",
            acks.len()
        ));
    }
    Ok(())
}

/// Stores the time scale, and `rules` unless they are `None`, before any service has started.
pub(crate) async fn start_with(
    log: &EventLog,
    rules: Option<RuleSet>,
    time_scale: u32,
) -> anyhow::Result<()> {
    if log.time_scale().await? != time_scale {
        log.publish_time_scale(time_scale).await?;
    }
    if let Some(rules) = rules {
        log.publish_policy(&rules).await?;
    }
    Ok(())
}

fn show(rules: &RuleSet, common: &Common) -> anyhow::Result<()> {
    if common.output == output::Format::Json {
        return Ok(output::text(&(rules.canonical_json() + "\n"))?);
    }
    let rows: Vec<Row> = rules.policies.iter().map(row).collect();
    output::rows(common.output, &rows)?;
    Ok(())
}

fn row(policy: &Policy) -> Row {
    let inherited = || "inherited".to_owned();
    let hot = policy.hot.as_ref().map(|tier| age(tier.max_age_ms));
    let warm = policy.warm.as_ref().map(|tier| age(tier.max_age_ms));
    let cold = policy.cold.as_ref().map(cold_age);
    Row::default()
        .with("policy", &policy.name)
        .with("priority", policy.priority)
        .with("mode", if policy.dry_run { "DryRun" } else { "Enforce" })
        .with("hot", hot.unwrap_or_else(inherited))
        .with("warm", warm.unwrap_or_else(inherited))
        .with("cold", cold.unwrap_or_else(inherited))
        .with("matches", matches(policy))
}

fn matches(policy: &Policy) -> String {
    let selector = &policy.selector;
    let list = |name: &str, globs: &[String]| {
        (!globs.is_empty()).then(|| format!("{name} {}", globs.join("|")))
    };
    let labels = selector.match_labels.len() + selector.match_expressions.len();
    let parts = [
        list("tenant", &selector.tenants),
        list("conversation", &selector.conversations),
        list("type", &selector.event_types),
        (labels > 0).then(|| format!("{labels} label rules")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.as_slice() {
        [] => "everything".to_owned(),
        parts => parts.join(", "),
    }
}

fn cold_age(cold: &retention::Cold) -> String {
    match (cold.disabled, cold.max_age_ms) {
        (true, _) => "disabled".to_owned(),
        (false, None) => "for ever".to_owned(),
        (false, Some(ms)) => age(ms),
    }
}

/// Formats an age as policies write it: `7d`, `90m`. Only accelerated ages are no whole seconds.
fn age(ms: u64) -> String {
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    let whole = units
        .iter()
        .find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit));
    match whole {
        Some((unit, name)) => format!("{}{name}", ms / unit),
        None => humantime::format_duration(Duration::from_millis(ms)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn an_age_is_shown_as_it_is_written() {
        for (ms, text) in [
            (2555 * 86_400_000, "2555d"),
            (3_600_000, "1h"),
            (90_000, "90s"),
            (1_500, "1s 500ms"),
        ] {
            assert_eq!(age(ms), text);
        }
    }
}
