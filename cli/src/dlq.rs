//! `isotherm dlq`: the dead letters, frames of the event log that could not be read.

use std::fmt::Write as _;

use anyhow::{Context as _, anyhow};
use event::Position;
use event_log::{DeadLetter, EventLog};
use event_proto::FrameContents;

use crate::{
    common::Common,
    exit::Usage,
    output::{self, Format, Row},
    policy,
};

/// The bytes of a letter that `show` prints for people.
const PREVIEW_BYTES: usize = 512;
const BYTES_PER_LINE: usize = 16;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the open dead letters, in the order of their positions.
    #[command(after_help = "Examples:
  isotherm dlq list
  isotherm dlq list -o ndjson | jq -r .position")]
    List,
    /// Show one dead letter: why it cannot be read, and its bytes.
    #[command(after_help = "Examples:
  isotherm dlq show 0001-0007-0001-00000000000000000042-0000
  isotherm dlq show 0001-0007-0001-00000000000000000042-0000 -o json | jq -r .hex")]
    Show { position: Position },
    /// Append dead letters that can be read by now to the log again, and delete them.
    #[command(after_help = "Examples:
  isotherm dlq replay 0001-0007-0001-00000000000000000042-0000
  isotherm dlq replay --all                      after the upgrade that can read them

A letter is deleted after the log has acknowledged it. One that still cannot be read stays.")]
    Replay(Selection),
    /// Delete dead letters for good: answers no longer name them as missing.
    #[command(after_help = "Examples:
  isotherm dlq drop 0001-0007-0001-00000000000000000042-0000 --yes
  isotherm dlq drop --all --yes")]
    Drop {
        #[command(flatten)]
        selection: Selection,
        /// Really delete them.
        #[arg(long)]
        yes: bool,
    },
}

/// The letters that a command is about.
#[derive(Debug, clap::Args)]
pub(crate) struct Selection {
    /// The positions, as `isotherm dlq list` prints them.
    #[arg(
        required_unless_present = "all",
        conflicts_with = "all",
        value_name = "POSITION"
    )]
    positions: Vec<Position>,
    /// All open dead letters.
    #[arg(long)]
    all: bool,
}

/// Runs a command about dead letters.
pub(crate) async fn run(command: Command, common: &Common) -> anyhow::Result<()> {
    let log = policy::connect(&common.log.nats_url).await?;
    match command {
        Command::List => {
            let letters = log.dead_letters().await?;
            let rows: Vec<Row> = letters.iter().map(row).collect();
            if rows.is_empty() && common.output == Format::Table {
                return Ok(output::text("no dead letters\n")?);
            }
            Ok(output::rows(common.output, &rows)?)
        }
        Command::Show { position } => show(&find(&log, position).await?, common),
        Command::Replay(selection) => replay(&log, &selection.letters(&log).await?).await,
        Command::Drop { selection, yes } => {
            let letters = selection.letters(&log).await?;
            if !yes {
                let detail = format!(
                    "give --yes to delete {} dead letters for good",
                    letters.len()
                );
                return Err(Usage(detail).into());
            }
            for letter in &letters {
                log.close_dead_letter(letter.position).await?;
                output::note(&format!("dropped {}", letter.position));
            }
            Ok(())
        }
    }
}

impl Selection {
    async fn letters(&self, log: &EventLog) -> anyhow::Result<Vec<DeadLetter>> {
        if self.all {
            return Ok(log.dead_letters().await?);
        }
        let mut letters = Vec::new();
        for position in &self.positions {
            letters.push(find(log, *position).await?);
        }
        Ok(letters)
    }
}

async fn find(log: &EventLog, position: Position) -> anyhow::Result<DeadLetter> {
    let letter = log.dead_letter(position).await?;
    letter.ok_or_else(|| {
        anyhow!("there is no open dead letter at {position}: see `isotherm dlq list`")
    })
}

fn row(letter: &DeadLetter) -> Row {
    Row::default()
        .with("position", letter.position.to_string())
        .with("received_at", letter.received_at.to_string())
        .with("tenant", letter.tenant.as_ref().map(ToString::to_string))
        .with("bytes", letter.payload.len())
        .with("reason", &letter.reason)
}

fn show(letter: &DeadLetter, common: &Common) -> anyhow::Result<()> {
    if common.output != Format::Table {
        let hex = hex(&letter.payload, "");
        return Ok(output::rows(
            common.output,
            &[row(letter).with("hex", hex)],
        )?);
    }
    output::rows(Format::Table, &[row(letter)])?;
    Ok(output::text(&format!("\n{}", preview(&letter.payload)))?)
}

/// The first bytes, each line as hexadecimal digits and as text.
fn preview(payload: &[u8]) -> String {
    let mut text = String::new();
    let shown = &payload[..payload.len().min(PREVIEW_BYTES)];
    for (line, bytes) in shown.chunks(BYTES_PER_LINE).enumerate() {
        let ascii = bytes.iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        });
        let ascii: String = ascii.collect();
        let (at, hex) = (line * BYTES_PER_LINE, hex(bytes, " "));
        let width = BYTES_PER_LINE * 3;
        writeln!(text, "{at:06x}  {hex:width$} {ascii}").expect("a String takes everything");
    }
    if payload.len() > shown.len() {
        let more = payload.len() - shown.len();
        writeln!(text, "and {more} bytes more: -o json has them").expect("the same");
    }
    text
}

fn hex(bytes: &[u8], behind_each: &str) -> String {
    let bytes = bytes.iter();
    bytes
        .map(|byte| format!("{byte:02x}{behind_each}"))
        .collect()
}

/// Appends each letter that can be read to the log, and deletes it after the acknowledgement.
async fn replay(log: &EventLog, letters: &[DeadLetter]) -> anyhow::Result<()> {
    let mut left = 0;
    for letter in letters {
        let position = letter.position;
        if let Some(reason) = unreadable(letter) {
            output::note(&format!("still cannot be read: {position}: {reason}"));
            left += 1;
            continue;
        }
        // The same id at every attempt: a repetition is one message of the log.
        let id = format!("replay-{position}");
        let append = log.append(position.partition, &id, letter.payload.clone(), Vec::new());
        let appended = append.await.with_context(|| format!("replay {position}"))?;
        log.close_dead_letter(position).await?;
        output::note(&format!("replayed {position} as sequence {}", appended.seq));
    }
    anyhow::ensure!(
        left == 0,
        "{left} of {} dead letters still cannot be read and were kept; a later version may read \
         them, or drop them with `isotherm dlq drop`",
        letters.len()
    );
    Ok(())
}

/// Why a letter still cannot be read; `None` if it can.
fn unreadable(letter: &DeadLetter) -> Option<String> {
    match FrameContents::read(letter.payload.clone()) {
        Ok(contents) => contents.damage.map(|damage| damage.to_string()),
        Err(version) => Some(version.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::preview;

    #[test]
    fn the_preview_has_digits_and_text_and_says_what_it_leaves_out() {
        let shown = preview(b"foo\x00\xff");
        assert_eq!(
            shown.trim_end(),
            format!("000000  {:48} foo..", "66 6f 6f 00 ff")
        );
        let long = preview(&[b'a'; 600]);
        assert_eq!(long.lines().count(), 33);
        assert!(
            long.ends_with("and 88 bytes more: -o json has them\n"),
            "{long}"
        );
    }
}
