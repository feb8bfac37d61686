//! `isotherm gap`: ranges that the log, warm and cold have lost.

use std::collections::BTreeMap;

use anyhow::anyhow;
use event::{PartitionId, Seq, Timestamp};
use event_log::{AcceptedGap, EventLog, GapRange, OpenGap, Watermark};

use crate::{
    common::Common,
    exit::Usage,
    output::{self, Format, Row},
    policy,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the open gaps: what is lost, since when, why, and what it blocks.
    #[command(after_help = "Examples:
  isotherm gap list
  isotherm gap list --accepted                     those that were accepted, by whom and why

The compactor finds a gap at its next maintenance, within seconds. It stays listed until the archiver has
committed past it.")]
    List {
        /// The accepted ones instead.
        #[arg(long)]
        accepted: bool,
    },
    /// Accept that the events of a gap are lost: the archive and the purge of the log go on behind it.
    #[command(after_help = "Examples:
  isotherm gap accept g1p07e1:3-9 --yes
  isotherm gap accept g1p07e1:3-9 --yes --reason 'the volume of node 4 is gone'

Answers over the range name it as missing for ever. What a tier still has of it is kept.")]
    Accept {
        /// The range, as `isotherm gap list` prints it.
        gap: GapRange,
        /// Really accept it. It cannot be taken back.
        #[arg(long)]
        yes: bool,
        /// Why, for whoever reads the list later.
        #[arg(long, default_value = "")]
        reason: String,
        /// Who accepts it.
        #[arg(long, env = "USER", default_value = "unknown")]
        by: String,
    },
}

/// Runs a command about gaps.
pub(crate) async fn run(command: Command, common: &Common) -> anyhow::Result<()> {
    let log = policy::connect(&common.log.nats_url).await?;
    match command {
        Command::List { accepted: false } => {
            let cold = cold_progress(&log.watermarks().await?);
            let accepted = log.accepted_gaps().await?;
            let open = log.open_gaps().await?;
            let row = |(partition, gap): &(PartitionId, OpenGap)| {
                open_row(*partition, gap, &accepted, &cold)
            };
            list("no gaps", &open.iter().map(row).collect::<Vec<_>>(), common)
        }
        Command::List { accepted: true } => {
            let accepted = log.accepted_gaps().await?;
            let rows: Vec<Row> = accepted.iter().map(accepted_row).collect();
            list("no accepted gaps", &rows, common)
        }
        Command::Accept {
            gap,
            yes,
            reason,
            by,
        } => {
            let at = Some(Timestamp::now());
            accept(&log, gap, yes, &AcceptedGap { at, by, reason }).await
        }
    }
}

fn list(nothing: &str, rows: &[Row], common: &Common) -> anyhow::Result<()> {
    if rows.is_empty() && common.output == Format::Table {
        return Ok(output::text(&format!("{nothing}\n"))?);
    }
    Ok(output::rows(common.output, rows)?)
}

/// Accepts `gap` if it is exactly one that is open: a range of which a tier has something is never one.
async fn accept(
    log: &EventLog,
    gap: GapRange,
    yes: bool,
    accepted: &AcceptedGap,
) -> anyhow::Result<()> {
    let open = log.open_gaps().await?;
    let is_open = |(partition, open): &(PartitionId, OpenGap)| {
        (*partition, open.range) == (gap.partition, gap.range)
    };
    if !open.iter().any(is_open) {
        return Err(anyhow!(
            "{gap} is no open gap: give one exactly as `isotherm gap list` prints it"
        ));
    }
    if !yes {
        let detail = format!("give --yes to accept that all events of {gap} are lost for good");
        return Err(Usage(detail).into());
    }
    let what = match log.accept_gap(gap, accepted).await? {
        true => "accepted",
        false => "was accepted before:",
    };
    output::note(&format!(
        "{what} {gap}; the next run of the archiver commits past it (`isotherm archive` runs it now)"
    ));
    Ok(())
}

/// The last sequence in cold, by partition.
fn cold_progress(watermarks: &[Watermark]) -> BTreeMap<PartitionId, Seq> {
    let cold = watermarks.iter().filter_map(|watermark| match watermark {
        Watermark::Cold {
            partition,
            committed,
            ..
        } => Some((*partition, *committed)),
        _ => None,
    });
    cold.collect()
}

fn open_row(
    partition: PartitionId,
    gap: &OpenGap,
    accepted: &[(GapRange, AcceptedGap)],
    cold: &BTreeMap<PartitionId, Seq>,
) -> Row {
    let range = gap.range;
    let own = GapRange { partition, range };
    let is_accepted = accepted.iter().any(|(gap, _)| *gap == own);
    let is_next = cold.get(&partition).copied().unwrap_or(0) + 1 >= range.lo;
    let blocks = match (is_accepted, is_next) {
        (true, _) => "nothing: accepted, the next run of the archiver commits past it",
        (false, true) => "the archive, and the purge of the log behind it",
        (false, false) => "nothing yet: the archive has not come to it",
    };
    Row::default()
        .with("gap", own.to_string())
        .with("partition", partition.to_string())
        .with("from", range.lo)
        .with("to", range.hi)
        .with("since", gap.since.to_string())
        .with("why", &gap.reason)
        .with("blocks", blocks)
}

fn accepted_row((gap, accepted): &(GapRange, AcceptedGap)) -> Row {
    Row::default()
        .with("gap", gap.to_string())
        .with("partition", gap.partition.to_string())
        .with("from", gap.range.lo)
        .with("to", gap.range.hi)
        .with("at", accepted.at.map(|at| at.to_string()))
        .with("by", &accepted.by)
        .with("reason", &accepted.reason)
}
